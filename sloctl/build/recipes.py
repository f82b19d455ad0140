"""How each precision is made, by what the builder takes.

- A weakly typed builder (TensorRT 8.6 and 10) takes the fp32 model and flags; int8 takes explicit Q/DQ, and FP16 for
  the layers between.
- A strongly typed one (TensorRT 11, TensorRT-RTX) keeps the model's own types, so the model itself is converted.
- ONNX Runtime on a CPU gains from int8 alone.
"""

from dataclasses import dataclass
from typing import Literal

from sloctl.build.builder import Inspection
from sloctl.build.settings import Precision

Conversion = Literal["none", "fp16", "int8-cpu", "int8"]


class UnavailableError(Exception):
    """A precision that cannot be had from this builder or for this GPU; the message says why."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done to the model before it is built, and the same in words."""

    conversion: Conversion
    method: str


_LEAST_CAPABILITY = {"tf32": (8, 0), "bf16": (8, 0)}
_CONVERTED = {
    "fp32": Recipe("none", "the model as it is"),
    "tf32": Recipe("none", "the model as it is, TF32 allowed"),
    "fp16": Recipe("fp16", "converted to fp16, inputs and outputs left as they were"),
    "int8": Recipe("int8", "explicit Q/DQ, symmetric, weights by channel"),
}
_STAND_INS: dict[Precision, Conversion] = {"fp16": "fp16", "int8": "int8"}


def for_cpu(precision: Precision) -> Recipe:
    """For ONNX Runtime on a CPU. Raises UnavailableError."""
    if precision == "fp32":
        return _CONVERTED["fp32"]
    if precision == "int8":
        return Recipe("int8-cpu", "explicit Q/DQ, unsigned activations, signed weights by channel")
    raise UnavailableError(
        f"{precision} is no faster than fp32 on a CPU, where ONNX Runtime computes it by way of fp32; "
        "it has fp32 and int8"
    )


def for_tensorrt(precision: Precision, builder: Inspection, capability: str | None) -> Recipe:
    """For a TensorRT builder and a GPU's compute capability, as far as it is known. Raises UnavailableError."""
    if precision == "fp8":
        raise UnavailableError(
            "sloctl makes no fp8 models, for want of a quantiser that keeps their accuracy; export one with fp8 Q/DQ "
            "and build it as fp32 with a strongly typed builder, which leaves its types alone"
        )
    least = _LEAST_CAPABILITY.get(precision)
    if least and capability and tuple(map(int, capability.split("."))) < least:
        needed = ".".join(map(str, least))
        raise UnavailableError(f"{precision} needs compute capability {needed}; this builds for {capability}")
    return _strong(precision) if builder.strongly_typed else _weak(precision, builder)


def _strong(precision: Precision) -> Recipe:
    if precision == "bf16":
        raise UnavailableError(
            "a strongly typed builder needs the model itself in bf16, and sloctl knows no well-kept converter; "
            "export it in bf16 and build that as fp32, which leaves its types alone"
        )
    return _CONVERTED[precision]


def _weak(precision: Precision, builder: Inspection) -> Recipe:
    if precision == "int8":
        return Recipe("int8", "explicit Q/DQ, symmetric, weights by channel; builder flags INT8 and FP16")
    flag = precision.upper()
    if precision != "fp32" and flag not in builder.flags:
        raise UnavailableError(f"{builder.name} has no builder flag {flag}")
    return Recipe("none", "the model as it is" if precision == "fp32" else f"builder flag {flag}")


def stand_in(precision: Precision) -> Conversion:
    """The form of the model that stands in on a CPU for a plan that cannot be run."""
    return _STAND_INS.get(precision, "none")
