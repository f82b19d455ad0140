"""The model in another precision, as a file.

fp16 is converted by `onnxruntime.transformers.float16`: it is released and tested with the ONNX Runtime that is here
anyway, and knows the operators that must stay in fp32. onnxconverter-common, from which it was taken, would be one
more dependency for the same code.
"""

import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sloctl.build.recipes import Conversion
from sloctl.engines.base import EngineError, Tensor
from sloctl.engines.quantise import Method, quantise


def convert(
    source: Path, target: Path, conversion: Conversion, calibration: Mapping[str, Tensor] | None, method: Method
) -> None:
    """Writes `target`; `calibration` is needed for int8. Raises EngineError."""
    if conversion == "none":
        shutil.copyfile(source, target)
    elif conversion == "fp16":
        _to_fp16(source, target)
    else:
        if calibration is None:
            raise EngineError(f"{source}: there are no samples to calibrate {conversion} with")
        quantise(source, target, calibration, method=method, form="cpu" if conversion == "int8-cpu" else "tensorrt")


def _to_fp16(source: Path, target: Path) -> None:
    with _errors(source), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights beyond fp16's range: the accuracy gate measures what that does
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


@contextmanager
def _errors(source: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise EngineError(f"conversion needs the onnx package ({error}); install sloctl[build]") from None
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise EngineError(f"{source}: cannot be converted to fp16: {first}") from error
