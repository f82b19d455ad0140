import pytest

from sloctl.build.builder import Inspection
from sloctl.build.recipes import UnavailableError, for_cpu, for_tensorrt


def _builder(version: str, *flags: str, strong: bool = False) -> Inspection:
    return Inspection("tensorrt", version, strong, flags, ahead_of_time=strong, compute_capability=None)


OLD = _builder("8.6.0", "FP16", "INT8", "TF32", "FP8")
TEN = _builder("10.16.1", "FP16", "INT8", "TF32", "FP8", "BF16")
STRONG = _builder("11.4.0", "TF32", strong=True)


@pytest.mark.parametrize(
    ("builder", "precision", "conversion"),
    [
        (OLD, "fp32", "none"), (OLD, "tf32", "none"), (OLD, "fp16", "none"), (OLD, "int8", "int8"),
        (TEN, "bf16", "none"),
        (STRONG, "fp32", "none"), (STRONG, "tf32", "none"), (STRONG, "fp16", "fp16"), (STRONG, "int8", "int8"),
    ],
)  # fmt: skip
def test_a_weakly_typed_builder_takes_flags_a_strongly_typed_one_another_model(builder, precision, conversion):
    assert for_tensorrt(precision, builder, "9.0").conversion == conversion


@pytest.mark.parametrize(
    ("builder", "precision", "capability", "message"),
    [
        (OLD, "bf16", "9.0", r"tensorrt 8\.6\.0 has no builder flag BF16"),
        (OLD, "fp8", "9.0", "sloctl makes no fp8 models"),
        (STRONG, "bf16", "9.0", "no well-kept converter"),
        (STRONG, "tf32", "7.5", r"tf32 needs compute capability 8\.0; this builds for 7\.5"),
    ],
)
def test_what_cannot_be_had_says_why(builder, precision, capability, message):
    with pytest.raises(UnavailableError, match=message):
        for_tensorrt(precision, builder, capability)


def test_a_cpu_gains_from_int8_alone():
    assert for_cpu("fp32").conversion == "none"
    assert for_cpu("int8").conversion == "int8-cpu"
    for precision in ("tf32", "fp16", "bf16", "fp8"):
        with pytest.raises(UnavailableError, match=f"{precision} is no faster than fp32 on a CPU"):
            for_cpu(precision)
