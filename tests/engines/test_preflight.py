"""Preflights in real child processes; TensorRT is a stand-in that does what a wrong plan makes the real one do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sloctl.engines.manifest import read_manifest, write_manifest
from sloctl.engines.preflight import Memory, Subject, describe, preflight

# A TensorRT and a CUDA with as much in them as the way to deserialising needs.
TENSORRT = """
import os, signal, sys, time
__version__ = "10.16.1.11"
class ILogger:
    ERROR, INTERNAL_ERROR = "ERROR", "INTERNAL_ERROR"
class Runtime:
    def __init__(self, logger): self.logger = logger
    def deserialize_cuda_engine(self, plan):
        if b"segv" in plan: os.kill(os.getpid(), signal.SIGSEGV)
        if b"exit" in plan: print("assertion failed: plan", file=sys.stderr); os._exit(3)
        if b"hang" in plan: time.sleep(60)
        self.logger.log("ERROR", "the plan was built for another version")
"""
CUDA = """
import enum
class cudaError_t(enum.IntEnum): cudaSuccess = 0
class Properties: name, major, minor = b"Fake H1", 9, 0
def cudaSetDevice(index): return (cudaError_t.cudaSuccess,)
def cudaGetDeviceProperties(index): return cudaError_t.cudaSuccess, Properties
def cudaMemGetInfo(): return cudaError_t.cudaSuccess, 1 << 30, 1 << 30
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts the stand-in before everything else on the children's path."""
    folder = tmp_path / "stand-in"
    (folder / "cuda" / "bindings").mkdir(parents=True)
    (folder / "tensorrt.py").write_text(TENSORRT)
    (folder / "cuda" / "__init__.py").write_text("")
    (folder / "cuda" / "bindings" / "__init__.py").write_text("")
    (folder / "cuda" / "bindings" / "runtime.py").write_text(CUDA)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))

    def plan(does: str) -> Path:
        path = tmp_path / f"{does}.plan"
        path.write_bytes(b"ftrt" + does.encode())
        return path

    return plan


def test_a_whole_variant_passes_with_all_its_steps(variant: Path):
    report = preflight(Subject(variant, "cpu", max_batch=2))
    assert (report.failed, report.reason) == ("", "")
    assert [name for name, _ in report.steps] == [
        "manifest",
        "model",
        "format",
        "device",
        "runtime",
        "plan",
        "context",
        "inference",
    ]
    assert report.details["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert report.details["memoryBytes"] > 0
    assert report.seconds > 0


def test_a_bare_model_is_run_once_and_checked_for_finite_outputs(affine: Path):
    report = preflight(Subject(affine, "cpu"))
    assert not report.failed
    assert dict(report.steps)["inference"].startswith("finite; there is no manifest")


def _truncate(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-7])


def _flip(folder: Path) -> None:
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _no_manifest(folder: Path) -> None:
    (folder / "manifest.yaml").unlink()


def _other_reference(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.probe is not None
    expected = {name: [value + 1 for value in values] for name, values in manifest.probe.expected.items()}
    write_manifest(
        folder, manifest.model_copy(update={"probe": manifest.probe.model_copy(update={"expected": expected})})
    )


@pytest.mark.parametrize(
    ("damage", "step", "level", "says"),
    [
        pytest.param(_truncate, "model", "model", "truncated: ", id="a truncated file"),
        pytest.param(_flip, "model", "model", "its SHA-256 is not the manifest's", id="a flipped byte"),
        pytest.param(_no_manifest, "manifest", "model", "no such file", id="no manifest"),
        pytest.param(_other_reference, "inference", "inference", "off its reference", id="weights that give others"),
    ],
)
def test_what_is_wrong_is_named_with_its_step_in_one_line(variant: Path, damage, step, level, says):
    damage(variant)
    report = preflight(Subject(variant, "cpu"))
    assert (report.failed, report.level) == (step, level)
    assert says in report.reason
    assert "\n" not in report.reason
    assert list(describe(report))[-1].startswith("FAIL")


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("segv", "the process that loaded it was killed by SIGSEGV: a wrong plan does that"),
        ("exit", "the process that loaded it ended with status 3: assertion failed: plan"),
        ("refuse", "cannot deserialise it: the plan was built for another version"),
    ],
)
def test_the_end_of_the_process_is_a_finding(stand_in, does, says):
    report = preflight(Subject(stand_in(does), "cuda:0"))
    assert (report.failed, report.level) == ("plan", "model")
    assert says in report.reason
    assert dict(report.steps)["device"] == "Fake H1"


def test_one_that_never_ends_is_ended(stand_in):
    report = preflight(Subject(stand_in("hang"), "cuda:0"), timeout=3.0)
    assert (report.failed, report.reason) == ("plan", "it did not end within 3 s")


def test_what_passed_is_remembered_until_anything_about_it_changes(tmp_path: Path):
    path = tmp_path / "preflight.json"
    memory = Memory(path)
    assert not memory.has(("sha", "10.16"))
    memory.add(("sha", "10.16"))
    assert Memory(path).has(("sha", "10.16"))
    assert not Memory(path).has(("sha", "10.17"))
    path.write_text('{"passed": 3')
    assert not memory.has(("sha", "10.16"))
    memory.add(("sha", "10.16"))
    assert memory.has(("sha", "10.16"))


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path: Path):
    Memory(tmp_path / "absent" / "preflight.json").add(("sha",))


def test_the_command_says_it_for_people_and_as_json(variant: Path, tmp_path: Path):
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sloctl.cli.main", "preflight", *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    said = run(str(variant))
    assert (said.returncode, "passed in" in said.stdout) == (0, True), said.stderr
    wrong = tmp_path / "text.plan"
    wrong.write_text("no plan")
    said = run(str(variant), str(wrong), "--json")
    assert said.returncode == 1
    good, bad = json.loads(said.stdout)["preflights"]
    assert (good["passed"], bad["passed"], bad["failed"]) == (True, False, "format")
    assert "a text file; expected an ONNX model or a TensorRT plan" in bad["reason"]
