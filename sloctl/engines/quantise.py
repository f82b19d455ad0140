"""Static quantisation with explicit Q/DQ nodes: ranges from calibration samples, in the form that a runtime multiplies.

For a CPU: unsigned activations and signed weights per channel (what VNNI multiplies). For TensorRT: both signed and
symmetric, bias left in floating point.
"""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sloctl.engines.base import EngineError, Tensor

Method = Literal["entropy", "percentile", "max"]
Form = Literal["cpu", "tensorrt"]

_VNNI = {"avx512_vnni", "avx_vnni"}
_BINS = 2048  # the entropy method's source: Migacz, 8-bit Inference with TensorRT, GTC 2017
_PERCENTILE = 99.99


def has_vnni() -> bool:
    """Whether the CPU multiplies 8-bit numbers with 32-bit sums: what makes int8 several times faster than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return not _VNNI.isdisjoint(flags)


def quantise(
    source: Path, target: Path, calibration: Mapping[str, Tensor], *, method: Method = "max", form: Form = "cpu"
) -> None:
    """Writes a quantised form of an fp32 model; `calibration` holds N rows of each input. Raises EngineError.

    `method` says where a range ends: at the largest value seen (max), at the 99.99th percentile, or where the
    Kullback-Leibler divergence from the unquantised histogram is least (entropy).
    """
    try:
        import onnxruntime.quantization  # noqa: F401  it needs onnx
    except ImportError as error:
        raise EngineError(f"quantisation needs the onnx package ({error}); install sloctl[build]") from None
    with tempfile.TemporaryDirectory(prefix="sloctl-quantise-") as scratch, _quiet():
        try:
            ranges = Path(scratch) / "ranges.json"
            kind = _calibrate(source, Path(scratch), ranges, calibration, method)
            _write(source, target, ranges, kind, form)
        except Exception as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise EngineError(f"{source}: cannot be quantised: {first}") from error


def _calibrate(source: Path, scratch: Path, ranges: Path, calibration: Mapping[str, Tensor], method: Method) -> Any:
    """Keeps the ranges of all tensors in a file; returns the quantiser's word for the method."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator, save_tensors_data

    kind, extra = {
        "max": (CalibrationMethod.MinMax, {}),
        "entropy": (CalibrationMethod.Entropy, {"num_bins": _BINS, "num_quantized_bins": 128}),
        "percentile": (CalibrationMethod.Percentile, {"num_bins": _BINS, "percentile": _PERCENTILE}),
    }[method]
    calibrator = create_calibrator(
        source, augmented_model_path=str(scratch / "augmented.onnx"), calibrate_method=kind, extra_options=extra
    )
    for row in _rows(calibration):  # one at a time: it would keep the layers' outputs of all of them
        calibrator.collect_data(row)
    save_tensors_data(calibrator.compute_data(), ranges)
    return kind


def _write(source: Path, target: Path, ranges: Path, kind: Any, form: Form) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True}
    pairs = {"AddQDQPairToWeight": True}  # TensorRT quantises the weights itself
    # Without VNNI the products of two 8-bit pairs are added in 16 bits and saturate, so weights have 7.
    activations, weights, narrow, extra = {
        "cpu": (QuantType.QUInt8, QuantType.QInt8, not has_vnni(), {}),
        "tensorrt": (QuantType.QInt8, QuantType.QInt8, False, {**symmetric, "QuantizeBias": False, **pairs}),
    }[form]
    quantize_static(
        source,
        target,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=activations,
        weight_type=weights,
        reduce_range=narrow,
        calibrate_method=kind,
        calibration_cache_path=ranges,
        extra_options=extra,
    )


class _Row:
    """One calibration sample, as the calibrator asks for it."""

    def __init__(self, inputs: dict[str, Tensor]) -> None:
        self._inputs: dict[str, Tensor] | None = inputs

    def get_next(self) -> dict[str, Tensor] | None:
        """The sample, then None."""
        given, self._inputs = self._inputs, None
        return given


def _rows(inputs: Mapping[str, Tensor]) -> Iterator[_Row]:
    for i in range(len(next(iter(inputs.values())))):
        yield _Row({name: np.ascontiguousarray(value[i : i + 1]) for name, value in inputs.items()})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the quantiser from warning on the root logger, and from printing its steps."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        root.setLevel(before)
