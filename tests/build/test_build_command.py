from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from sloctl.engines.loading import load_engine, probe
from sloctl.engines.manifest import digest, read_manifest

Build = Callable[..., Result]
CPU = ("--target", "onnxruntime")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_model_is_built_gated_measured_and_can_be_served(
    build: Build, repository: Path, model: Path, calibration: Path, evaluation: Path
):
    data = ("--calibrate", str(calibration), "--evaluate", str(evaluation), "--floor", "0.9")
    result = build(*CPU, "--precisions", "fp32,int8", *data)
    assert result.exit_code == 0, result.output
    assert _names(repository / "m") == ["fp32", "int8"]
    for name in ("fp32", "int8"):
        engine, manifest = load_engine(repository / "m" / name, device="cpu", threads=1, max_batch=4)
        probe(engine, manifest)
        assert manifest.build.source_sha256 == digest(model)
        assert manifest.build.gate.samples == manifest.accuracy.samples == 100
        assert manifest.accuracy.value == manifest.build.gate.value >= 0.9
        assert set(manifest.latency_seconds) == set(manifest.latency_p99_seconds) == {1, 2, 3, 4}
        assert all(manifest.latency_p99_seconds[b] >= t for b, t in manifest.latency_seconds.items())
    exact, rough = (read_manifest(repository / "m" / name).build for name in ("fp32", "int8"))
    assert exact.gate.max_absolute_error == 0
    assert rough.gate.max_absolute_error > 0
    assert exact.calibration is None
    assert (rough.calibration.method, rough.calibration.samples) == ("max", 500)


def test_a_variant_below_the_floor_is_refused_with_its_numbers_and_leaves_nothing(
    build: Build, repository: Path, samples: np.ndarray, evaluation: Path, tmp_path: Path
):
    np.savez(tmp_path / "narrow.npz", x=samples[:500] * 0.02)  # ranges far too small: everything is clipped
    data = ("--calibrate", str(tmp_path / "narrow.npz"), "--evaluate", str(evaluation), "--floor", "0.99")
    result = build(*CPU, "--precisions", "int8,fp32", *data)
    assert result.exit_code == 3, result.output
    assert "refused: top-1 0." in result.stdout
    assert "below the floor of 0.99" in result.stdout
    assert "unlike the traffic" in result.stdout
    assert _names(repository / "m") == ["fp32"]


@pytest.mark.parametrize("method", ["entropy", "percentile", "max"])
def test_each_way_of_calibrating_builds_a_model_that_agrees(
    build: Build, repository: Path, calibration: Path, evaluation: Path, method: str
):
    data = ("--calibrate", str(calibration), "--evaluate", str(evaluation), "--max-drop", "0.1")
    result = build(*CPU, "--precisions", "int8", "--calibration", method, *data)
    assert result.exit_code == 0, result.output
    record = read_manifest(repository / "m" / "int8").build
    assert record.calibration.method == method
    assert record.gate.agreement >= 0.9


def test_a_variant_can_be_the_reference_and_is_built_first(
    build: Build, repository: Path, model: Path, calibration: Path, evaluation: Path
):
    data = ("--calibrate", str(calibration), "--evaluate", str(evaluation), "--reference", "fp32")
    result = build(*CPU, "--precisions", "int8,fp32", *data)
    assert result.exit_code == 0, result.output
    assert result.stdout.index("fp32:") < result.stdout.index("int8:")
    exact, rough = (read_manifest(repository / "m" / name).build.gate for name in ("fp32", "int8"))
    assert exact.reference.startswith(f"{model.name} on onnxruntime ")
    assert rough.reference == "fp32"
    assert rough.reference_value == exact.value


def test_a_reference_that_is_nowhere_fails_with_its_place(build: Build, repository: Path, evaluation: Path):
    result = build(*CPU, "--precisions", "fp32", "--evaluate", str(evaluation), "--reference", "exact")
    assert result.exit_code == 1
    assert "exact/manifest.yaml: no such file" in result.stdout
    assert _names(repository / "m") == []


def test_a_precision_that_a_cpu_has_not_is_told_and_the_others_are_built(build: Build, repository: Path):
    result = build(*CPU, "--precisions", "fp16,fp32")
    assert result.exit_code == 4
    assert "fp16 is no faster than fp32 on a CPU" in result.stdout
    assert _names(repository / "m") == ["fp32"]


def test_variants_that_are_there_are_set_aside_only_when_asked(build: Build, repository: Path):
    assert build(*CPU).exit_code == 0
    before = read_manifest(repository / "m" / "fp32")
    refused = build(*CPU)
    assert refused.exit_code == 1
    assert "there already" in refused.stderr
    assert build(*CPU, "--replace").exit_code == 0
    (aside,) = (name for name in _names(repository / "m") if ".replaced-" in name)
    assert read_manifest(repository / "m" / aside) == before


def test_a_file_holds_what_options_would_and_options_go_before_it(build: Build, repository: Path, tmp_path: Path):
    path = tmp_path / "build.yaml"
    path.write_text("apiVersion: sloctl/v1\nkind: Build\ntarget: onnxruntime\nprecisions: [fp32]\nbatch: 1/1/1\n")
    assert build("--config", str(path)).exit_code == 0
    assert read_manifest(repository / "m" / "fp32").max_batch == 4  # --batch 1/2/4


def test_batch_sizes_can_come_from_traffic(build: Build, repository: Path, tmp_path: Path):
    (tmp_path / "traffic.json").write_text('{"1": 10, "2": 9}')
    result = build(*CPU, "--traffic", str(tmp_path / "traffic.json"))
    assert "1/2/2" in result.stdout
    assert read_manifest(repository / "m" / "fp32").max_batch == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--precisions", "int8"], "give calibrate"),
        (["--precisions", "fp4"], "precisions.0"),
        (["--floor", "0.9"], "give evaluate"),
        (["--batch", "4/2/1"], "smallest/best/largest"),
        (["--target", "tpu"], "target"),
        (["--metric", "os.system('x')"], "metric"),
        (["--config", "nowhere.yaml"], "file-unreadable"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_built(build: Build, repository: Path, more: list[str], message: str):
    result = build(*more)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not repository.exists()


def test_a_mistake_in_the_file_has_its_line(build: Build, tmp_path: Path):
    path = tmp_path / "build.yaml"
    path.write_text("apiVersion: sloctl/v1\nkind: Build\nprecision: [fp32]\n")
    result = build("--config", str(path))
    assert result.exit_code == 2
    assert 'build.yaml:3:1: error[unknown-field]: unknown field "precision"; did you mean "precisions"' in result.stderr


def test_a_source_that_is_no_model_fails_for_all(build: Build, model: Path, repository: Path):
    model.write_bytes(b"no model")
    result = build(*CPU)
    assert result.exit_code == 1
    assert "ONNX Runtime cannot load it" in result.stderr


def test_without_a_gpu_a_tensorrt_build_says_what_it_lacks(build: Build, old_tensorrt: str, repository: Path):
    result = build("--target", "tensorrt", "--builder-python", old_tensorrt)
    assert result.exit_code == 1
    assert "there is no GPU here; name the one to build for" in result.stdout
    assert _names(repository / "m") == []


def test_auto_takes_onnx_runtime_where_no_gpu_is(build: Build, repository: Path, old_tensorrt: str):
    assert build("--builder-python", old_tensorrt).exit_code == 0
    assert read_manifest(repository / "m" / "fp32").runtime == "onnxruntime"
