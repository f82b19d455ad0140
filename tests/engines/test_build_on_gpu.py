"""`sloctl build` for a GPU that is there: the plan is run, gated and measured. GPU, TensorRT and builder are fakes."""

import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from sloctl.cli.main import app
from sloctl.engines.loading import load_engine, probe
from sloctl.engines.manifest import read_manifest

LEAN = "libnvinfer_lean.so.8"
BUILDER = f"""#!{sys.executable} -B
import json, sys
request = json.load(sys.stdin)
answer = dict(
    event="result", module="tensorrt", version="8.6.0", strongly_typed=False, flags=["FP16", "INT8", "TF32"],
    ahead_of_time=False, compute_capability="9.0",
)
if request["action"] == "build":
    with open(request["plan"], "wb") as file:
        file.write(b"ftrt" + bytes(90))
    answer.update(set_flags=["FP16"], target="9.0", seconds=1.5)
print(json.dumps(answer))
"""


@pytest.fixture
def builder(tmp_path: Path) -> str:
    path = tmp_path / "python3.10"
    path.write_text(BUILDER)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.fixture
def labelled(tmp_path: Path, weights: np.ndarray) -> Path:
    x = np.random.default_rng(5).random((40, 4), dtype=np.float32)
    np.savez(tmp_path / "forty.npz", x=x, labels=(x @ weights).argmax(axis=1))
    return tmp_path / "forty.npz"


def _build(model: Path, repository: Path, builder: str, *more: str):
    where = ["--model", "tiny", "--repository", str(repository), "--target", "auto", "--batch", "1/4/8"]
    lean = ["--version-compatible", "--exclude-lean-runtime", "--lean-runtime", LEAN]
    arguments = [*where, *lean, "--builder-python", builder, "--measure-seconds", "0.01", "--precisions", "fp16"]
    return CliRunner().invoke(app, ["build", str(model), *arguments, *more])


def test_a_plan_is_run_gated_and_measured_on_the_gpu_that_it_was_built_for(
    gpu: SimpleNamespace, affine: Path, labelled: Path, tmp_path: Path, builder: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / LEAN).touch()
    monkeypatch.setenv("SLOCTL_TENSORRT_LIB_DIR", str(tmp_path))
    result = _build(affine, tmp_path / "models", builder, "--evaluate", str(labelled), "--floor", "0.99")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(tmp_path / "models" / "tiny" / "fp16")
    assert (manifest.unmeasured, manifest.device_name, manifest.compute_capability) == (None, "Fake H1", "9.0")
    assert (manifest.runtime_version, manifest.lean_runtime) == ("8.6.0", LEAN)
    assert set(manifest.latency_seconds) == {1, 2, 3, 4, 6, 8}
    assert manifest.accuracy.value == manifest.build.gate.value == 1
    assert manifest.build.gate.ran_on.startswith("tensorrt_lean_bindings ")
    assert manifest.build.flags == ["FP16"]
    engine, _ = load_engine(tmp_path / "models" / "tiny" / "fp16", device="cuda:0", threads=1, max_batch=8)
    probe(engine, manifest)
    engine.close()


def test_a_plan_that_the_runtime_here_cannot_load_is_kept_as_not_measured(
    gpu: SimpleNamespace, affine: Path, tmp_path: Path, builder: str
):
    gpu.trt.__version__ = "11.4.0"
    result = _build(affine, tmp_path / "models", builder)
    assert result.exit_code == 0, result.output
    assert "can be loaded by TensorRT 8 or 10 only" in read_manifest(tmp_path / "models" / "tiny" / "fp16").unmeasured
