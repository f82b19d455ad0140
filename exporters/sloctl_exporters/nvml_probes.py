"""What is asked of a GPU through NVML, as data: metrics, and for each call what it fills."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sloctl.telemetry.catalogue import Kind, Metric, Plane

_GPU = ("gpu", "uuid")
Reading = Iterable[tuple[Metric, tuple[str, ...], float]]
"""Values of one call: the metric, its labels after `gpu` and `uuid`, and the value in base units."""


def _gauge(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, unit, (*_GPU, *labels), text, Plane.CONTROL)


NVML_UP = Metric("sloctl_nvml_up", Kind.GAUGE, "1", (), "1 while NVIDIA's driver answers.", Plane.CONTROL)
GPUS_PRESENT = Metric("sloctl_gpus_present", Kind.GAUGE, "1", (), "GPUs that answer.", Plane.CONTROL)
GPU_INFO = Metric(
    "sloctl_gpu_info",
    Kind.INFO,
    "1",
    (*_GPU, "name", "driver", "pci_bus_id", "compute_capability"),
    "Always 1; what a GPU is, as labels to join on `uuid`.",
    Plane.CONTROL,
)
MEMORY_USED = _gauge(
    "sloctl_gpu_memory_used_bytes", "bytes", "GPU memory in use, with what the driver keeps for itself."
)
MEMORY_FREE = _gauge("sloctl_gpu_memory_free_bytes", "bytes", "GPU memory that is free.")
MEMORY_TOTAL = _gauge("sloctl_gpu_memory_total_bytes", "bytes", "GPU memory in all.")
TEMPERATURE = _gauge("sloctl_gpu_temperature_celsius", "celsius", "Temperature of the GPU's die.")
POWER = _gauge("sloctl_gpu_power_watts", "watts", "Power that the board draws.")
ENERGY = Metric(
    "sloctl_gpu_energy_joules_total",
    Kind.COUNTER,
    "joules",
    _GPU,
    "Energy used since the driver was loaded.",
    Plane.CONTROL,
)
UTILIZATION = _gauge("sloctl_gpu_utilization_ratio", "ratio", "Share of the last sample period in which a kernel ran.")
MEMORY_UTILIZATION = _gauge(
    "sloctl_gpu_memory_utilization_ratio",
    "ratio",
    "Share of the last sample period in which GPU memory was read or written.",
)
CLOCK = _gauge("sloctl_gpu_clock_hertz", "hertz", "Clock rate now.", "clock")
CLOCKS_EVENT_REASON = _gauge(
    "sloctl_gpu_clocks_event_reason", "1", "1 while the reason holds clocks below their highest.", "reason"
)
CLOCKS_THROTTLED = _gauge(
    "sloctl_gpu_throttled",
    "1",
    "1 while heat or the hardware's own protection slows the clocks (a power cap set in software does not count).",
)
MIG_MODE = _gauge("sloctl_gpu_mig_mode", "1", "1 while the GPU is cut into instances (MIG).")
RETIRED_PAGES = _gauge("sloctl_gpu_retired_pages", "1", "Memory pages retired, by cause (GPUs before Ampere).", "cause")
REMAPPED_ROWS = _gauge(
    "sloctl_gpu_remapped_rows", "1", "Memory rows remapped, by the error that caused it (Ampere and newer).", "cause"
)

NVML_METRICS: tuple[Metric, ...] = (
    NVML_UP,
    GPUS_PRESENT,
    GPU_INFO,
    MEMORY_USED,
    MEMORY_FREE,
    MEMORY_TOTAL,
    TEMPERATURE,
    POWER,
    ENERGY,
    UTILIZATION,
    MEMORY_UTILIZATION,
    CLOCK,
    CLOCKS_EVENT_REASON,
    CLOCKS_THROTTLED,
    MIG_MODE,
    RETIRED_PAGES,
    REMAPPED_ROWS,
)

# nvml.h's bits, written out: pynvml's names for them changed between its releases.
CLOCKS_EVENT_REASONS = {
    "gpu_idle": 0x1,
    "applications_clocks_setting": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
    "display_clock_setting": 0x100,
}
_THROTTLED = 0x8 | 0x20 | 0x40 | 0x80


@dataclass(frozen=True, slots=True)
class Probe:
    """One call to NVML on a device handle; `read` raises NVMLError where it is not supported."""

    name: str
    read: Callable[[Any, Any], Reading]


def _memory(nvml: Any, gpu: Any) -> Reading:
    # Version 1, where used and free add up to the total and which every driver has.
    memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
    return (MEMORY_USED, (), memory.used), (MEMORY_FREE, (), memory.free), (MEMORY_TOTAL, (), memory.total)


def _temperature(nvml: Any, gpu: Any) -> Reading:
    return ((TEMPERATURE, (), nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),)


def _power(nvml: Any, gpu: Any) -> Reading:
    return ((POWER, (), nvml.nvmlDeviceGetPowerUsage(gpu) / 1000),)  # milliwatts


def _energy(nvml: Any, gpu: Any) -> Reading:
    return ((ENERGY, (), nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000),)  # millijoules


def _utilization(nvml: Any, gpu: Any) -> Reading:
    rates = nvml.nvmlDeviceGetUtilizationRates(gpu)  # percent
    return (UTILIZATION, (), rates.gpu / 100), (MEMORY_UTILIZATION, (), rates.memory / 100)


def _sm_clock(nvml: Any, gpu: Any) -> Reading:
    return ((CLOCK, ("sm",), nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM) * 1e6),)  # megahertz


def _memory_clock(nvml: Any, gpu: Any) -> Reading:
    return ((CLOCK, ("memory",), nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM) * 1e6),)


def _clocks_event_reasons(nvml: Any, gpu: Any) -> Reading:
    bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)
    yield CLOCKS_THROTTLED, (), float(bits & _THROTTLED != 0)
    for reason, bit in CLOCKS_EVENT_REASONS.items():
        yield CLOCKS_EVENT_REASON, (reason,), float(bits & bit != 0)


def _mig(nvml: Any, gpu: Any) -> Reading:
    current, _pending = nvml.nvmlDeviceGetMigMode(gpu)
    return ((MIG_MODE, (), float(current)),)


def _retired_pages(nvml: Any, gpu: Any) -> Reading:
    causes = {
        "single_bit": nvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
        "double_bit": nvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
    }
    for name, cause in causes.items():
        yield RETIRED_PAGES, (name,), float(len(nvml.nvmlDeviceGetRetiredPages(gpu, cause)))


def _remapped_rows(nvml: Any, gpu: Any) -> Reading:
    correctable, uncorrectable, _pending, _failed = nvml.nvmlDeviceGetRemappedRows(gpu)
    return (REMAPPED_ROWS, ("correctable",), correctable), (REMAPPED_ROWS, ("uncorrectable",), uncorrectable)


PROBES: tuple[Probe, ...] = (
    Probe("memory", _memory),
    Probe("temperature", _temperature),
    Probe("power", _power),
    Probe("energy", _energy),
    Probe("utilization", _utilization),
    Probe("sm clock", _sm_clock),
    Probe("memory clock", _memory_clock),
    Probe("clocks event reasons", _clocks_event_reasons),
    Probe("MIG mode", _mig),
    Probe("retired pages", _retired_pages),
    Probe("remapped rows", _remapped_rows),
)
