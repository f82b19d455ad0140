"""What kind of model file this is, told from its first bytes: before a runtime that may crash on it sees it."""

from pathlib import Path

from sloctl.engines.base import EngineError

_HEAD = 64
_PLAN = (b"ftrt", b"ptrt", b"vtrt")  # first bytes of TensorRT plans: 8.6, without its wrapping, TensorRT-RTX
_ONNX = b"\x08"  # protobuf: ModelProto.ir_version, its first field
_NOTED = {b"PK\x03\x04": "a zip archive", b"\x89HDF": "an HDF5 file", b"\x7fELF": "a program or library"}
_KINDS = {"onnxruntime": "an ONNX model", "tensorrt": "a TensorRT plan"}


def describe(path: Path) -> str:
    """`an ONNX model`, `a TensorRT plan`, or what else it looks like. Raises EngineError if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if not head:
        return "an empty file"
    if head.startswith(_PLAN):
        return _KINDS["tensorrt"]
    for magic, what in _NOTED.items():
        if head.startswith(magic):
            return what
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (fetch the file itself with `git lfs pull`)"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return _KINDS["onnxruntime"] if head.startswith(_ONNX) else "a file of unknown format"


def runtime_of(path: Path) -> str:
    """The runtime for a model file: onnxruntime or tensorrt. Raises EngineError for any other file."""
    found = describe(path)
    for runtime, kind in _KINDS.items():
        if found == kind:
            return runtime
    raise EngineError(f"{path}: {found}; expected an ONNX model or a TensorRT plan")


def require_format(path: Path, runtime: str) -> None:
    """Refuses a file that is not what `runtime` takes. Raises EngineError."""
    found, expected = describe(path), _KINDS[runtime]
    if found != expected:
        raise EngineError(
            f"{path}: {found}, where {runtime} needs {expected}; check `runtime` and `file` of its manifest"
        )
