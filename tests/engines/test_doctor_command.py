import json
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from sloctl.cli import doctor
from sloctl.cli.doctor import Finding, features
from sloctl.cli.main import app

MODULES = ("tensorrt", "tensorrt_lean", "tensorrt_lean_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings")


def test_it_says_what_was_found_and_what_is_missing_for_which_feature():
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert {"Python", "CPU", "VNNI", "memory", "onnxruntime", *MODULES, "cuda-bindings", "NVML"} <= set(
        report["machine"]
    )
    assert report["machine"]["onnxruntime"]["found"]
    assert report["features"]["serve on the CPU"] == {"available": True, "missing": ""}


def test_the_table_names_every_feature():
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "serve on NVIDIA GPUs" in result.stdout
    assert "GPU telemetry" in result.stdout


def _found(*names: str) -> list[Finding]:
    every = ("onnxruntime", "onnx", "VNNI", *MODULES, "cuda-bindings", "CUDA device 0", "NVML device 0")
    return [Finding(name, name in names, "") for name in every]


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        pytest.param((), ["CUDA device", "TensorRT", "CUDA bindings"], id="nothing is there"),
        pytest.param(("CUDA device 0", "cuda-bindings"), ["TensorRT"], id="a GPU without TensorRT"),
        pytest.param(("tensorrt_lean_bindings", "cuda-bindings"), ["CUDA device"], id="TensorRT without a GPU"),
        pytest.param(("tensorrt", "CUDA device 0"), ["CUDA bindings"], id="no bindings"),
        pytest.param(("tensorrt", "CUDA device 0", "cuda-bindings"), [], id="all of it"),
    ],
)
def test_serving_on_a_gpu_names_just_what_it_lacks(there: tuple[str, ...], missing: list[str]):
    feature = next(f for f in features(_found(*there)) if f.name == "serve on NVIDIA GPUs")
    parts = feature.missing.split("; ") if feature.missing else []
    assert len(parts) == len(missing)
    assert all(name in part for name, part in zip(missing, parts, strict=True))


def test_a_tensorrt_that_ends_its_process_does_not_end_the_doctor(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tensorrt_lean.py").write_text("import os\nos.abort()\n")
    (tmp_path / "tensorrt.py").write_text("raise RuntimeError('libnvinfer.so.10 is missing')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    crashed, broken = doctor._tensorrt("tensorrt_lean"), doctor._tensorrt("tensorrt")
    assert not crashed.found
    assert "status -6" in crashed.value
    assert broken == Finding("tensorrt", False, "RuntimeError: libnvinfer.so.10 is missing")


def test_gpus_are_shown_as_nvml_and_cuda_have_them(gpu: SimpleNamespace):
    assert doctor._cuda() == [
        Finding("CUDA driver", True, "speaks CUDA 13.1"),
        Finding("CUDA device 0", True, "Fake H1, compute capability 9.0"),
    ]
    gpu.cuda.sticky = True
    (failed,) = doctor._cuda()
    assert not failed.found
    assert "cudaErrorIllegalAddress" in failed.value


def test_without_cuda_bindings_it_says_what_to_install(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    (missing,) = doctor._cuda()
    assert "install sloctl[tensorrt-lean]" in missing.value
