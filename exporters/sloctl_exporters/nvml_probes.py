"""What is asked of a GPU by one call each: the call, and what it fills in base units."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sloctl.telemetry.catalogue import Metric
from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_errors import is_unsupported

Reading = Iterable[tuple[Metric, tuple[str, ...], float]]
"""Values: the metric, its labels after `gpu` and `uuid`, and the value in base units."""
Refuse = Callable[[str, str], None]
"""Told what a GPU does not tell, and why."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One call to NVML on a device handle; `read` raises NVMLError where it is not supported."""

    name: str
    read: Callable[[Any, Any], Reading]


def _memory(nvml: Any, gpu: Any) -> Reading:
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(gpu, nvml.nvmlMemory_v2)
    except nvml.NVMLError as error:
        if not is_unsupported(nvml, error.value):
            raise
        memory = nvml.nvmlDeviceGetMemoryInfo(gpu)  # drivers before 510; its `used` has the reserved part in it
        reserved = 0
    else:
        reserved = memory.reserved
        yield m.MEMORY_RESERVED, (), reserved
    # So that used and free add up to the total.
    yield m.MEMORY_USED, (), memory.used + reserved
    yield m.MEMORY_FREE, (), memory.free
    yield m.MEMORY_TOTAL, (), memory.total


def _temperature(nvml: Any, gpu: Any) -> Reading:
    return ((m.TEMPERATURE, (), nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),)


def _power(nvml: Any, gpu: Any) -> Reading:
    return ((m.POWER, (), nvml.nvmlDeviceGetPowerUsage(gpu) / 1000),)  # milliwatts


def _utilization(nvml: Any, gpu: Any) -> Reading:
    rates = nvml.nvmlDeviceGetUtilizationRates(gpu)  # percent
    return (m.UTILIZATION, (), rates.gpu / 100), (m.MEMORY_UTILIZATION, (), rates.memory / 100)


def _encoder(nvml: Any, gpu: Any) -> Reading:
    percent, _period = nvml.nvmlDeviceGetEncoderUtilization(gpu)
    return ((m.CODEC_UTILIZATION, ("encoder",), percent / 100),)


def _decoder(nvml: Any, gpu: Any) -> Reading:
    percent, _period = nvml.nvmlDeviceGetDecoderUtilization(gpu)
    return ((m.CODEC_UTILIZATION, ("decoder",), percent / 100),)


def _sm_clock(nvml: Any, gpu: Any) -> Reading:
    return ((m.CLOCK, ("sm",), nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM) * 1e6),)  # megahertz


def _memory_clock(nvml: Any, gpu: Any) -> Reading:
    return ((m.CLOCK, ("memory",), nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM) * 1e6),)


def _retired_pages(nvml: Any, gpu: Any) -> Reading:
    causes = {
        "single_bit": nvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
        "double_bit": nvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
    }
    for name, cause in causes.items():
        yield m.RETIRED_PAGES, (name,), float(len(nvml.nvmlDeviceGetRetiredPages(gpu, cause)))


def highest_clocks(nvml: Any, gpu: Any) -> Reading:
    """The highest clock rates, which do not change while the driver is loaded."""
    for name, clock in (("sm", nvml.NVML_CLOCK_SM), ("memory", nvml.NVML_CLOCK_MEM)):
        yield m.CLOCK_MAX, (name,), nvml.nvmlDeviceGetMaxClockInfo(gpu, clock) * 1e6


PROBES: tuple[Probe, ...] = (
    Probe("memory", _memory),
    Probe("temperature", _temperature),
    Probe("power", _power),
    Probe("utilization", _utilization),
    Probe("encoder utilization", _encoder),
    Probe("decoder utilization", _decoder),
    Probe("sm clock", _sm_clock),
    Probe("memory clock", _memory_clock),
    Probe("retired pages", _retired_pages),
)
