import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from sloctl.cli._digits import upscale
from sloctl.engines.base import EngineError
from sloctl.engines.onnx import OnnxEngine
from sloctl.engines.quantise import has_vnni, quantise

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def train() -> ModuleType:
    """The example's training script; importing it needs neither torch nor scikit-learn."""
    spec = importlib.util.spec_from_file_location("digits_train", EXAMPLE / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_int8_stays_close_to_fp32_and_is_smaller_in_weights(affine: Path, tmp_path: Path, weights: np.ndarray, caplog):
    x = np.random.default_rng(0).random((64, 4), dtype=np.float32)
    target = tmp_path / "int8.onnx"
    before = logging.getLogger().level
    with caplog.at_level(logging.WARNING):
        quantise(affine, target, {"x": x})
    assert not caplog.records
    assert logging.getLogger().level == before
    model = onnx.load(str(target))
    kinds = {i.name: i.data_type for i in model.graph.initializer}
    assert onnx.TensorProto.INT8 in kinds.values()  # weights
    assert onnx.TensorProto.UINT8 in kinds.values()  # zero points of activations
    found = OnnxEngine(target).infer({"x": x}).outputs["y"]
    np.testing.assert_allclose(found, np.maximum(x @ weights, 0), atol=0.05)


def test_without_the_onnx_package_it_says_what_to_install(affine: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(EngineError, match=r"install sloctl\[build\]"):
        quantise(affine, tmp_path / "int8.onnx", {"x": np.zeros((1, 4), np.float32)})


def test_a_model_that_cannot_be_quantised_is_named(tmp_path: Path):
    source = tmp_path / "broken.onnx"
    source.write_bytes(b"no model")
    with pytest.raises(EngineError, match=r"broken\.onnx: cannot be quantised"):
        quantise(source, tmp_path / "int8.onnx", {"x": np.zeros((1, 4), np.float32)})


@pytest.mark.parametrize(
    ("flags", "there"), [("fpu avx512_vnni", True), ("fpu avx_vnni", True), ("fpu avx512f", False), ("", False)]
)
def test_vnni_is_read_from_the_cpus_flags(monkeypatch, flags: str, there: bool):
    monkeypatch.setattr(
        Path, "read_text", lambda _: f"model name\t: a CPU with avx512_vnni in its name\nflags\t\t: {flags}\n"
    )
    assert has_vnni() is there


def test_upscaling_is_bilinear_with_half_pixel_centres():
    ramp = np.tile(np.arange(8, dtype=np.uint8) * 2, (1, 8, 1))
    found = upscale(ramp)
    assert found.shape == (1, 1, 64, 64)
    assert found.dtype == np.float32
    # Output pixel i lies at (i + 0.5) / 8 - 0.5 of the source; beyond the outermost centres it stays level.
    expected = np.clip((np.arange(64) + 0.5) / 8 - 0.5, 0, 7) * 2 / 16
    np.testing.assert_allclose(found[0, 0], np.tile(expected, (64, 1)), atol=1e-6)
    np.testing.assert_allclose(upscale(ramp.transpose(0, 2, 1))[0, 0], found[0, 0].T, atol=1e-6)


def test_no_calibration_image_is_among_the_held_out():
    with np.load(EXAMPLE / "digits_eval.npz") as held_out, np.load(EXAMPLE / "digits_calibration.npz") as calibration:
        held, calib = ({image.tobytes() for image in file["images"]} for file in (held_out, calibration))
    assert (len(held), len(calib)) == (500, 200)
    assert not held & calib


def test_the_training_script_exports_the_very_graph_that_is_shipped(train: ModuleType):
    shipped = onnx.load(str(EXAMPLE / "digits_resnet.fp32.onnx"))
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in shipped.graph.initializer}
    made = train.export(weights)
    onnx.checker.check_model(made)
    assert [_node(node) for node in made.graph.node] == [_node(node) for node in shipped.graph.node]
    assert list(made.graph.input) == list(shipped.graph.input)
    assert list(made.graph.output) == list(shipped.graph.output)
    assert sum(value.size for value in weights.values()) == pytest.approx(1.65e6, rel=0.01)


def _node(node: onnx.NodeProto) -> tuple:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return node.name, node.op_type, list(node.input), list(node.output), attributes
