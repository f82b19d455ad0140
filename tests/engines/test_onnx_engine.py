from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto

from sloctl.engines.base import EngineError, TensorSpec
from sloctl.engines.onnx import OnnxEngine, options


def test_it_says_what_the_model_takes_and_gives(affine: Path):
    engine = OnnxEngine(affine, max_batch=7)
    assert list(engine.inputs) == [TensorSpec("x", "FP32", (-1, 4))]
    assert list(engine.outputs) == [TensorSpec("y", "FP32", (-1, 3))]
    assert engine.max_batch == 7
    assert engine.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert engine.memory_bytes >= affine.stat().st_size


def test_a_batch_is_computed_and_timed(affine: Path, weights: np.ndarray):
    x = np.random.default_rng(0).random((5, 4), dtype=np.float32) - 0.5
    execution = OnnxEngine(affine).infer({"x": x})
    np.testing.assert_allclose(execution.outputs["y"], np.maximum(x @ weights, 0), rtol=1e-5, atol=1e-6)
    assert execution.engine_seconds > 0
    assert execution.enqueue_seconds >= 0


def test_a_model_with_a_fixed_batch_takes_no_other(fixed_batch: Path):
    assert OnnxEngine(fixed_batch, max_batch=8).max_batch == 2


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        pytest.param({"x": np.zeros((1, 4))}, "x", id="another datatype"),
        pytest.param({"x": np.zeros((1, 5), np.float32)}, "x", id="a wrong dimension"),
        pytest.param({"x": np.zeros((4,), np.float32)}, "x", id="a missing dimension"),
        pytest.param({"z": np.zeros((1, 4), np.float32)}, "x|z", id="a wrong name"),
        pytest.param({}, "x", id="no input"),
        pytest.param(
            {"x": np.zeros((1, 4), np.float32), "z": np.zeros((1, 4), np.float32)}, "z", id="an input too many"
        ),
    ],
)
def test_inputs_that_do_not_fit_are_an_error_that_names_them(affine: Path, inputs: dict, named: str):
    engine = OnnxEngine(affine)
    with pytest.raises(EngineError, match=named):
        engine.infer(inputs)
    assert engine.infer({"x": np.zeros((1, 4), np.float32)}).outputs["y"].shape == (1, 3)


@pytest.mark.parametrize(
    ("kind", "datatype", "dtype"),
    [
        (TensorProto.BOOL, "BOOL", np.bool_),
        (TensorProto.UINT8, "UINT8", np.uint8),
        (TensorProto.INT16, "INT16", np.int16),
        (TensorProto.INT64, "INT64", np.int64),
        (TensorProto.FLOAT16, "FP16", np.float16),
        (TensorProto.DOUBLE, "FP64", np.float64),
        (TensorProto.STRING, "BYTES", np.object_),
    ],
)
def test_datatypes_go_in_and_come_out(make_identity: Callable[[int], Path], kind: int, datatype: str, dtype: type):
    engine = OnnxEngine(make_identity(kind))
    assert engine.inputs[0].datatype == engine.outputs[0].datatype == datatype
    x = np.array([["a", "b"]], dtype) if datatype == "BYTES" else np.array([[0, 1]], dtype)
    assert (engine.infer({"x": x}).outputs["y"] == x).all()


def test_a_datatype_that_the_protocol_cannot_carry_is_refused(make_identity: Callable[[int], Path]):
    with pytest.raises(EngineError, match=r"complex|cannot"):
        OnnxEngine(make_identity(TensorProto.COMPLEX64))


@pytest.mark.parametrize(
    "data", [b"", b"hello\n" * 20, b"ftrt" + bytes(80)], ids=["empty", "a text file", "a TensorRT plan"]
)
def test_a_file_that_is_no_model_is_an_error_for_people(tmp_path: Path, data: bytes, capfd):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(EngineError, match=r"model\.onnx") as error:
        OnnxEngine(path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")  # and nothing of it in the log


def test_a_missing_file_is_an_error_for_people(tmp_path: Path):
    with pytest.raises(EngineError, match=r"none\.onnx"):
        OnnxEngine(tmp_path / "none.onnx")


def test_threads_wait_without_spinning():
    made = options(2)
    assert made.intra_op_num_threads == 2
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_closing_twice_is_harmless(affine: Path):
    engine = OnnxEngine(affine)
    engine.close()
    engine.close()
    for use in (engine.infer, engine.profile):
        with pytest.raises(EngineError, match="closed"):
            use({"x": np.zeros((1, 4), np.float32)})
