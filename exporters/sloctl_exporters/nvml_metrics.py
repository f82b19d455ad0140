"""The metrics that are read through NVML, in Prometheus' base units."""

from sloctl.telemetry.catalogue import Kind, Metric, Plane

_GPU = ("gpu", "uuid")
# Not `instance`, which Prometheus gives to the scraped target.
_INSTANCE = (*_GPU, "gpu_instance")


def _machine(name: str, kind: Kind, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name, kind, unit, labels, text, Plane.CONTROL)


def _gauge(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, unit, (*_GPU, *labels), text, Plane.CONTROL)


def _counter(name: str, unit: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, unit, (*_GPU, *labels), text, Plane.CONTROL)


def _info(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, Kind.INFO, "1", (*_GPU, *labels), text, Plane.CONTROL)


# --- the machine and the reading itself
NVML_UP = _machine("sloctl_nvml_up", Kind.GAUGE, "1", "1 while NVIDIA's driver answers.")
NVML_LAST_SUCCESS = _machine(
    "sloctl_nvml_last_success_timestamp_seconds",
    Kind.GAUGE,
    "seconds",
    "When the driver last answered, in Unix time; 0: never.",
)
NVML_READ_DURATION = _machine(
    "sloctl_nvml_read_duration_seconds", Kind.SUMMARY, "seconds", "Time that one reading of all GPUs took."
)
NVML_ERRORS = _machine(
    "sloctl_nvml_errors_total",
    Kind.COUNTER,
    "1",
    "Calls that failed, but for those that a GPU or a driver does not support.",
)
GPUS_PRESENT = _machine("sloctl_gpus_present", Kind.GAUGE, "1", "GPUs that answer.")
GPUS_EXPECTED = _machine("sloctl_gpus_expected", Kind.GAUGE, "1", "GPUs that there should be, where it was configured.")

# --- what a GPU is
GPU_INFO = _info(
    "sloctl_gpu_info",
    "Always 1; what a GPU is, as labels to join on `uuid`.",
    "name",
    "driver",
    "pci_bus_id",
    "compute_capability",
)
UNSUPPORTED = _info("sloctl_gpu_unsupported_info", "Always 1; what a GPU does not tell, and why.", "what", "reason")

# --- memory, heat, power, clocks, use
MEMORY_USED = _gauge(
    "sloctl_gpu_memory_used_bytes", "bytes", "GPU memory in use, with what the driver keeps for itself."
)
MEMORY_FREE = _gauge("sloctl_gpu_memory_free_bytes", "bytes", "GPU memory that is free.")
MEMORY_RESERVED = _gauge(
    "sloctl_gpu_memory_reserved_bytes", "bytes", "GPU memory that driver and firmware keep for themselves."
)
MEMORY_TOTAL = _gauge("sloctl_gpu_memory_total_bytes", "bytes", "GPU memory in all.")
TEMPERATURE = _gauge("sloctl_gpu_temperature_celsius", "celsius", "Temperature of the GPU's die.")
MEMORY_TEMPERATURE = _gauge("sloctl_gpu_memory_temperature_celsius", "celsius", "Temperature of the GPU's memory.")
POWER = _gauge(
    "sloctl_gpu_power_watts", "watts", "Power that the board draws (averaged over a second on Ampere and newer)."
)
POWER_INSTANT = _gauge("sloctl_gpu_power_instant_watts", "watts", "Power that the board draws at this moment.")
POWER_LIMIT = _gauge("sloctl_gpu_power_limit_watts", "watts", "Power limit in force.")
ENERGY = _counter("sloctl_gpu_energy_joules_total", "joules", "Energy used since the driver was loaded.")
UTILIZATION = _gauge("sloctl_gpu_utilization_ratio", "ratio", "Share of the last sample period in which a kernel ran.")
MEMORY_UTILIZATION = _gauge(
    "sloctl_gpu_memory_utilization_ratio",
    "ratio",
    "Share of the last sample period in which GPU memory was read or written.",
)
CODEC_UTILIZATION = _gauge(
    "sloctl_gpu_codec_utilization_ratio", "ratio", "Use of the video encoder and decoder.", "codec"
)
CLOCK = _gauge("sloctl_gpu_clock_hertz", "hertz", "Clock rate now.", "clock")
CLOCK_MAX = _gauge("sloctl_gpu_clock_max_hertz", "hertz", "Highest clock rate.", "clock")
CLOCKS_EVENT_REASON = _gauge(
    "sloctl_gpu_clocks_event_reason", "1", "1 while the reason holds clocks below their highest.", "reason"
)
CLOCKS_EVENT_SECONDS = _counter(
    "sloctl_gpu_clocks_event_seconds_total",
    "seconds",
    "Time for which the reason held the clocks: counted by the driver, or sampled at each reading.",
    "reason",
    "source",
)
CLOCKS_THROTTLED = _gauge(
    "sloctl_gpu_throttled",
    "1",
    "1 while heat or the hardware's own protection slows the clocks (a power cap set in software does not count).",
)

# --- activity, averaged between two readings (GPM, Hopper and newer)
ACTIVITY = _gauge(
    "sloctl_gpu_activity_ratio",
    "ratio",
    "Share of time for which a part of the GPU was busy since the last reading (Hopper and newer).",
    "engine",
)
SM_OCCUPANCY = _gauge(
    "sloctl_gpu_sm_occupancy_ratio", "ratio", "Resident warps over the most that fit (Hopper and newer)."
)
BUS_RATE = _gauge(
    "sloctl_gpu_bus_bytes_per_second",
    "bytes_per_second",
    "Traffic from (tx) and to (rx) the GPU since the last reading (Hopper and newer).",
    "bus",
    "direction",
)
NVLINK_BYTES = _counter("sloctl_gpu_nvlink_bytes_total", "bytes", "Data over all NVLinks.", "direction")
PCIE_REPLAYS = _counter("sloctl_gpu_pcie_replays_total", "1", "PCIe packets sent anew.")

# --- faults
XID_ERRORS = _counter("sloctl_gpu_xid_errors_total", "1", "XID errors seen since this process began.", "xid", "kind")
XID_LAST = _gauge(
    "sloctl_gpu_xid_last_timestamp_seconds", "seconds", "When an XID was last seen, in Unix time.", "xid", "kind"
)
ECC_ERRORS = _counter(
    "sloctl_gpu_ecc_errors_total",
    "1",
    "Memory errors: volatile ones since the driver was loaded, aggregate ones over the GPU's life.",
    "error",
    "lifetime",
)
RETIRED_PAGES = _gauge("sloctl_gpu_retired_pages", "1", "Memory pages retired, by cause (GPUs before Ampere).", "cause")
REMAPPED_ROWS = _gauge(
    "sloctl_gpu_remapped_rows", "1", "Memory rows remapped, by the error that caused it (Ampere and newer).", "cause"
)
REMAP_PENDING = _gauge("sloctl_gpu_row_remap_pending", "1", "1 while a remapping waits for a reset of the GPU.")
REMAP_FAILED = _gauge("sloctl_gpu_row_remap_failed", "1", "1 once a remapping has failed: replace the GPU.")
RECOVERY_ACTION = _gauge(
    "sloctl_gpu_recovery_action",
    "1",
    "What the GPU needs: 0 nothing, 1 GPU reset, 2 node reboot, 3 drain peer-to-peer traffic, 4 drain and reset.",
)

# --- MIG
MIG_MODE = _gauge("sloctl_gpu_mig_mode", "1", "1 while the GPU is cut into instances (MIG).")
INSTANCE_INFO = Metric(
    "sloctl_gpu_instance_info",
    Kind.INFO,
    "1",
    (*_INSTANCE, "profile", "instance_uuid"),
    "Always 1; what a MIG instance is.",
    Plane.CONTROL,
)
INSTANCE_MEMORY_USED = Metric(
    "sloctl_gpu_instance_memory_used_bytes",
    Kind.GAUGE,
    "bytes",
    _INSTANCE,
    "Memory of a MIG instance in use.",
    Plane.CONTROL,
)
INSTANCE_MEMORY_TOTAL = Metric(
    "sloctl_gpu_instance_memory_total_bytes",
    Kind.GAUGE,
    "bytes",
    _INSTANCE,
    "Memory of a MIG instance in all.",
    Plane.CONTROL,
)
INSTANCE_ACTIVITY = Metric(
    "sloctl_gpu_instance_activity_ratio",
    Kind.GAUGE,
    "ratio",
    (*_INSTANCE, "engine"),
    "Share of time for which a part of a MIG instance was busy since the last reading (Hopper and newer).",
    Plane.CONTROL,
)

OWN_METRICS: tuple[Metric, ...] = (
    NVML_UP,
    NVML_LAST_SUCCESS,
    NVML_READ_DURATION,
    NVML_ERRORS,
    GPUS_PRESENT,
    GPUS_EXPECTED,
)
GPU_METRICS: tuple[Metric, ...] = (
    GPU_INFO,
    UNSUPPORTED,
    MEMORY_USED,
    MEMORY_FREE,
    MEMORY_RESERVED,
    MEMORY_TOTAL,
    TEMPERATURE,
    MEMORY_TEMPERATURE,
    POWER,
    POWER_INSTANT,
    POWER_LIMIT,
    ENERGY,
    UTILIZATION,
    MEMORY_UTILIZATION,
    CODEC_UTILIZATION,
    CLOCK,
    CLOCK_MAX,
    CLOCKS_EVENT_REASON,
    CLOCKS_EVENT_SECONDS,
    CLOCKS_THROTTLED,
    ACTIVITY,
    SM_OCCUPANCY,
    BUS_RATE,
    NVLINK_BYTES,
    PCIE_REPLAYS,
    XID_ERRORS,
    XID_LAST,
    ECC_ERRORS,
    RETIRED_PAGES,
    REMAPPED_ROWS,
    REMAP_PENDING,
    REMAP_FAILED,
    RECOVERY_ACTION,
    MIG_MODE,
    INSTANCE_INFO,
    INSTANCE_MEMORY_USED,
    INSTANCE_MEMORY_TOTAL,
    INSTANCE_ACTIVITY,
)
NVML_METRICS: tuple[Metric, ...] = (*OWN_METRICS, *GPU_METRICS)
