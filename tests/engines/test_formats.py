from pathlib import Path

import pytest

from sloctl.engines.base import EngineError
from sloctl.engines.formats import describe, require_format, runtime_of


def test_an_onnx_model_is_told_from_a_plan(affine: Path, tmp_path: Path):
    plan = tmp_path / "model.plan"
    plan.write_bytes(b"ftrt" + bytes(60))
    assert runtime_of(affine) == "onnxruntime"
    assert runtime_of(plan) == "tensorrt"
    require_format(affine, "onnxruntime")
    with pytest.raises(EngineError, match="an ONNX model, where tensorrt needs a TensorRT plan"):
        require_format(affine, "tensorrt")
    with pytest.raises(EngineError, match="a TensorRT plan, where onnxruntime needs an ONNX model"):
        require_format(plan, "onnxruntime")


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "an empty file"),
        (b"hello\n", "a text file"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"\x7fELF\x02", "a program or library"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"\xff\xfe\x00\x01", "a file of unknown format"),
    ],
)
def test_foreign_files_are_named_for_what_they_look_like(tmp_path: Path, head: bytes, what: str):
    path = tmp_path / "model.onnx"
    path.write_bytes(head)
    assert describe(path).startswith(what)
    with pytest.raises(EngineError, match="expected an ONNX model or a TensorRT plan"):
        runtime_of(path)


def test_a_file_that_is_not_there_is_an_error_for_people(tmp_path: Path):
    with pytest.raises(EngineError, match="cannot be read: no such file"):
        runtime_of(tmp_path / "none.onnx")
