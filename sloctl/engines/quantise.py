"""Static int8 quantisation for the CPU: unsigned activations, signed weights per channel (what VNNI multiplies)."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from sloctl.engines.base import EngineError, Tensor


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
    try:
        quantize_static(
            str(source),
            str(target),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        root.setLevel(before)
