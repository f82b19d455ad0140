"""Several GPUs as one: a policy sees the worst of each."""

from dataclasses import replace
from math import isnan, nan

from sloctl.control.sensing import worst_gpu
from sloctl_exporters.nvml import GpuFacts

COOL = GpuFacts(10.0, 100.0, 40.0, 0.2, 100.0, False, frozenset({"gpu_idle"}), (1.0,))
FULL = GpuFacts(90.0, 200.0, 35.0, nan, 300.0, True, frozenset({"sw_power_cap"}), (0.5,))


def test_the_worst_in_each_respect() -> None:
    reasons = frozenset({"gpu_idle", "sw_power_cap"})
    assert worst_gpu([COOL, FULL]) == GpuFacts(90.0, 200.0, 40.0, 0.2, 300.0, True, reasons, (0.5, 1.0))


def test_one_is_itself_and_none_is_none() -> None:
    assert worst_gpu([COOL]) is COOL
    assert worst_gpu([]) is None


def test_what_none_can_tell_stays_unknown() -> None:
    found = worst_gpu([replace(COOL, power=nan), replace(FULL, power=nan)])
    assert found is not None
    assert isnan(found.power)
