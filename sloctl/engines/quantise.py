"""Static int8 quantisation for the CPU: unsigned activations, signed weights per channel (what VNNI multiplies)."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from sloctl.engines.base import EngineError, Tensor

_VNNI = {"avx512_vnni", "avx_vnni"}


def has_vnni() -> bool:
    """Whether the CPU multiplies 8-bit numbers with 32-bit sums: what makes int8 several times faster than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return not _VNNI.isdisjoint(flags)


class _Reader:
    """Calibration samples one at a time, as the quantiser asks for them."""

    def __init__(self, inputs: Mapping[str, Tensor]) -> None:
        rows = len(next(iter(inputs.values())))
        self._rows: Iterator[dict[str, Tensor]] = (
            {name: np.ascontiguousarray(value[i : i + 1]) for name, value in inputs.items()} for i in range(rows)
        )

    def get_next(self) -> dict[str, Tensor] | None:
        """The next sample, or None at the end."""
        return next(self._rows, None)


def quantise(source: Path, target: Path, calibration: Mapping[str, Tensor]) -> None:
    """Writes an int8 form (Q/DQ) of an fp32 model; `calibration` holds N rows of each input. Raises EngineError."""
    try:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise EngineError(f"quantisation needs the onnx package ({error}); install sloctl[demo]") from None
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # it warns on the root logger that the model was not preprocessed
    # Without VNNI the products of two 8-bit pairs are added in 16 bits and saturate, so weights have 7.
    narrow = not has_vnni()
    try:
        quantize_static(
            str(source),
            str(target),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=narrow,
        )
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise EngineError(f"{source}: cannot be quantised: {first}") from error
    finally:
        root.setLevel(before)
