"""Plans really built by TensorRT-RTX, ahead of time: no GPU is needed, about 100 MB are downloaded once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sloctl.build.builder import Builder
from sloctl.cli._digits import upscale
from sloctl.cli.main import app
from sloctl.engines.base import EngineError
from sloctl.engines.formats import runtime_of
from sloctl.engines.loading import check_model
from sloctl.engines.manifest import digest, read_manifest, verify_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
ROWS = 60


@pytest.fixture(scope="module")
def built(rtx_python: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The digits model in four precisions for compute capability 8.6."""
    root = tmp_path_factory.mktemp("rtx")
    with np.load(DIGITS / "digits_calibration.npz") as file:
        np.savez(root / "calibration.npz", image=upscale(file["images"][:ROWS]))
    with np.load(DIGITS / "digits_eval.npz") as file:
        np.savez(root / "evaluation.npz", image=upscale(file["images"][:ROWS]), labels=file["labels"][:ROWS])
    data = ["--calibrate", str(root / "calibration.npz"), "--evaluate", str(root / "evaluation.npz")]
    target = ["--target", "tensorrt-rtx", "--compute-capability", "8.6", "--builder-python", rtx_python]
    where = ["--model", "digits", "--repository", str(root / "repository"), "--precisions", "fp32,tf32,fp16,int8"]
    model = str(DIGITS / "digits_resnet.fp32.onnx")
    result = CliRunner().invoke(app, ["build", model, *where, *target, *data, "--floor", "0.95"])
    return root / "repository" / "digits", result


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "int8"])
def test_the_manifest_says_what_the_plan_is_and_that_nothing_ran_it(built: tuple[Path, Result], precision: str):
    repository, result = built
    assert result.exit_code == 0, result.output
    folder = repository / precision
    manifest = read_manifest(folder)
    assert runtime_of(verify_file(folder, manifest)) == "tensorrt"
    assert manifest.build.builder == f"tensorrt_rtx_bindings {manifest.runtime_version}"
    assert manifest.build.source_sha256 == digest(DIGITS / "digits_resnet.fp32.onnx")
    assert manifest.build.profiles == [{"image": [[1, 1, 64, 64], [16, 1, 64, 64], [64, 1, 64, 64]]}]
    assert (manifest.compute_capability, manifest.max_batch) == ("8.6", 64)
    assert "built for compute capability 8.6" in manifest.unmeasured
    assert manifest.build.gate.value >= 0.95
    assert manifest.build.gate.ran_on.endswith("as a stand-in for the plan")
    for measured in ("device_name", "memory_bytes", "accuracy", "probe"):
        assert getattr(manifest, measured) is None
    assert manifest.latency_seconds == {}
    with pytest.raises(EngineError, match="was never run"):
        check_model(folder, manifest, "cuda:0")


def test_each_precision_is_another_plan(built: tuple[Path, Result]):
    repository, _ = built
    plans = {path.parent.name: path for path in repository.glob("*/model.plan")}
    assert len({digest(path) for path in plans.values()}) == 4
    # Half the bits for the weights of fp16, a quarter for those of int8, beside what does not shrink.
    assert plans["fp16"].stat().st_size < 0.8 * plans["fp32"].stat().st_size
    assert plans["int8"].stat().st_size < 0.8 * plans["fp32"].stat().st_size


def test_the_builder_tells_its_progress(built: tuple[Path, Result]):
    assert "Building engine: 6 of 6" in built[1].stdout


def test_a_gpu_that_the_builder_does_not_know_is_refused_with_those_it_knows(
    rtx_python: str, build: Callable[..., Result], repository: Path
):
    target = ("--target", "tensorrt-rtx", "--builder-python", rtx_python)
    result = build(*target, "--compute-capability", "9.0")
    assert result.exit_code == 1
    assert "cannot build for compute capability 9.0; it knows" in result.stdout
    assert "SM86" in result.stdout
    assert not list((repository / "m").iterdir())


def test_tensorrt_rtx_is_strongly_typed_and_builds_ahead_of_time(rtx_python: str):
    found = Builder("tensorrt-rtx", rtx_python).inspect()
    assert found.strongly_typed
    assert found.ahead_of_time
