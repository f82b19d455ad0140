from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sloctl.cli.main import app
from sloctl.engines.loading import load_engine, probe
from sloctl.engines.manifest import Build, Manifest, TensorEntry, digest, read_manifest, write_manifest

EVALUATION = np.eye(4, dtype=np.float32)


def _run(repository: Path, file: Path, *more: str, model: str = "tiny", variant: str = "fp32") -> Result:
    arguments = ["import", str(file), "--model", model, "--variant", variant, "--repository", str(repository)]
    return CliRunner().invoke(app, [*arguments, "--max-batch", "4", *more])


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def labelled(tmp_path: Path, weights: np.ndarray) -> Path:
    """Four samples, of which the affine model is right on three."""
    labels = (EVALUATION @ weights).argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    np.savez(tmp_path / "four.npz", x=EVALUATION, labels=labels)
    return tmp_path / "four.npz"


def test_an_imported_model_can_be_served(repository: Path, affine: Path, labelled: Path):
    result = _run(repository, affine, "--evaluate", str(labelled))
    assert result.exit_code == 0, result.output
    assert "accuracy 0.7500 on 4 samples of four" in result.stdout
    folder = repository / "tiny" / "fp32"
    assert _names(folder) == ["manifest.yaml", "model.onnx"]
    assert _names(folder.parent) == ["fp32"]
    engine, manifest = load_engine(folder, device="cpu", threads=1, max_batch=4)
    probe(engine, manifest)
    assert (manifest.precision, manifest.runtime, manifest.max_batch) == ("fp32", "onnxruntime", 4)
    assert set(manifest.latency_seconds) == {1, 2, 4}


def test_agreement_is_measured_with_another_variant(repository: Path, affine: Path, labelled: Path):
    _run(repository, affine)
    result = _run(repository, affine, "--evaluate", str(labelled), "--reference", "fp32", variant="copy")
    assert result.exit_code == 0, result.output
    assert "agreement with fp32 1.0000" in result.stdout
    assert read_manifest(repository / "tiny" / "copy").accuracy.agreement == 1


def test_a_variant_that_is_there_is_not_overwritten(repository: Path, affine: Path):
    _run(repository, affine)
    manifest = read_manifest(repository / "tiny" / "fp32")
    result = _run(repository, affine)
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert read_manifest(repository / "tiny" / "fp32") == manifest
    assert _names(repository / "tiny") == ["fp32"]


def test_a_replaced_variant_is_set_aside_whole(repository: Path, affine: Path):
    _run(repository, affine)
    manifest = read_manifest(repository / "tiny" / "fp32")
    result = _run(repository, affine, "--replace", "--precision", "tf32")
    assert result.exit_code == 0, result.output
    new, aside = _names(repository / "tiny")
    assert new == "fp32"
    assert aside.startswith("fp32.replaced-")
    assert read_manifest(repository / "tiny" / aside) == manifest
    assert read_manifest(repository / "tiny" / "fp32").precision == "tf32"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file; expected an ONNX model"),
        (b"hello\n", "a text file; expected an ONNX model"),
        (b"\x08\x08\x3a\xff\xff\xff", "ONNX Runtime cannot load it"),
        (b"ftrt" + bytes(90), "runs on a GPU only"),
    ],
    ids=["an empty file", "a text file", "a truncated model", "a plan without a GPU"],
)
def test_a_file_that_cannot_be_imported_leaves_the_old_variant_serving(
    repository: Path, affine: Path, tmp_path: Path, data: bytes, message: str
):
    _run(repository, affine)
    manifest = read_manifest(repository / "tiny" / "fp32")
    foreign = tmp_path / "foreign.onnx"
    foreign.write_bytes(data)
    result = _run(repository, foreign, "--replace")
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert read_manifest(repository / "tiny" / "fp32") == manifest
    assert _names(repository / "tiny") == ["fp32"]


@pytest.mark.parametrize("where", [{"model": "../up"}, {"variant": ".."}, {"model": "a/b"}, {"variant": ""}])
def test_names_cannot_leave_the_repository(repository: Path, affine: Path, where: dict[str, str]):
    result = _run(repository, affine, **where)
    assert result.exit_code == 1
    assert "expected letters, digits" in result.stderr
    assert not repository.exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--reference", "fp32"], "needs --evaluate"),
        (["--evaluate", "missing.npz"], "missing.npz: cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_refused(repository: Path, affine: Path, more: list[str], message: str):
    result = _run(repository, affine, *more)
    assert result.exit_code == 1
    assert message in result.stderr
    assert _names(repository) == []


def test_a_plan_is_imported_with_its_gpu(gpu: SimpleNamespace, repository: Path, tmp_path: Path, monkeypatch):
    plan = tmp_path / "model.engine"
    plan.write_bytes(b"ftrt" + bytes(90))
    (tmp_path / "libnvinfer_lean.so.8").touch()
    monkeypatch.setenv("SLOCTL_TENSORRT_LIB_DIR", str(tmp_path))
    more = ("--device", "cuda:0", "--lean-runtime", "libnvinfer_lean.so.8")
    result = _run(repository, plan, *more, variant="fp16")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(repository / "tiny" / "fp16")
    assert (manifest.file, manifest.runtime, manifest.lean_runtime) == ("model.plan", "tensorrt", more[-1])
    assert (manifest.device_name, manifest.compute_capability, manifest.driver) == ("Fake H1", "9.0", "13.1")
    assert not gpu.cuda.memory


def test_a_plan_that_was_built_elsewhere_is_measured_in_place_and_keeps_where_it_came_from(
    gpu: SimpleNamespace, repository: Path, monkeypatch
):
    record = Build(source="m.onnx", source_sha256="0" * 64, builder="tensorrt 10.16.1", method="as it is", seconds=1)
    folder = repository / "tiny" / "fp16"
    folder.mkdir(parents=True)
    plan = folder / "model.plan"
    plan.write_bytes(b"ftrt" + bytes(90))
    entry = TensorEntry(name="x", datatype="FP32", shape=[-1, 4])
    ahead = Manifest(
        file=plan.name, sha256=digest(plan), size=94, precision="fp16", runtime="tensorrt", runtime_version="10.16.1",
        inputs=[entry], outputs=[entry], max_batch=8, build=record, unmeasured="there was no GPU",
    )  # fmt: skip
    write_manifest(folder, ahead)
    result = _run(repository, plan, "--device", "cuda:0", "--replace", variant="fp16")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(folder)
    assert manifest.build == record
    assert manifest.unmeasured is None
    assert manifest.device_name == "Fake H1"
    assert manifest.device_memory_bytes > 0
