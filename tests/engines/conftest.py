"""Tiny ONNX models, made where they are needed, and a GPU that is none."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, save

from sloctl.engines import cuda, tensorrt_runtime
from sloctl.engines.manifest import write_manifest
from sloctl.engines.measure import make_manifest
from sloctl.engines.onnx import OnnxEngine

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def _save(path: Path, nodes: list, inputs: list, outputs: list, constants: list) -> Path:
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    save(model, str(path))
    return path


def affine_model(path: Path, batch: int | str = "batch") -> Path:
    """`y = relu(x @ W)`: x FP32 [batch, 4], y FP32 [batch, 3]."""
    return _save(
        path,
        [
            helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
            helper.make_node("Relu", ["product"], ["y"], name="rectified"),
        ],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [helper.make_tensor("w", TensorProto.FLOAT, WEIGHTS.shape, WEIGHTS.tobytes(), raw=True)],
    )


def identity_model(path: Path, kind: int) -> Path:
    """`y = x` of one ONNX type, [batch, 2]."""
    x, y = (helper.make_tensor_value_info(name, kind, ["batch", 2]) for name in ("x", "y"))
    return _save(path, [helper.make_node("Identity", ["x"], ["y"], name="same")], [x], [y], [])


@pytest.fixture
def affine(tmp_path: Path) -> Path:
    return affine_model(tmp_path / "affine.onnx")


@pytest.fixture
def variant(tmp_path: Path) -> Path:
    """A variant's folder in a repository, measured."""
    folder = tmp_path / "repository" / "tiny" / "fp32"
    folder.mkdir(parents=True)
    path = affine_model(folder / "model.onnx")
    engine = OnnxEngine(path, max_batch=2)
    manifest = make_manifest(path, engine, precision="fp32", runtime="onnxruntime", device_name="a CPU")
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def make_identity(tmp_path: Path) -> Callable[[int], Path]:
    return lambda kind: identity_model(tmp_path / f"identity{kind}.onnx", kind)


@pytest.fixture
def weights() -> np.ndarray:
    """W of `affine_model`."""
    return WEIGHTS


@pytest.fixture
def fixed_batch(tmp_path: Path) -> Path:
    """The affine model with its batch fixed at 2."""
    return affine_model(tmp_path / "fixed.onnx", batch=2)


def _beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A fake GPU with a fake TensorRT (`gpu.cuda`, `gpu.trt`); every handle and buffer must be freed in the end."""
    fake = _beside("fake_gpu")
    runtime = fake.Cuda()
    trt = fake.TensorRT(runtime)
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", package)
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    for name in tensorrt_runtime.MODULES:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "tensorrt_lean_bindings", trt)
    names = ("module", "_logger", "_profiler_class", "runtime")
    cached = (cuda._runtime, *(getattr(tensorrt_runtime, name) for name in names))
    for function in cached:
        function.cache_clear()
    yield SimpleNamespace(cuda=runtime, trt=trt, weights=fake.WEIGHTS)
    for function in cached:
        function.cache_clear()
