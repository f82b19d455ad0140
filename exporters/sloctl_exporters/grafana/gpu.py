"""The dashboard's row on GPUs, from NVML's metrics. On a machine without one it stays empty."""

from sloctl.telemetry.catalogue import Metric
from sloctl_exporters import nvml_metrics as n
from sloctl_exporters.grafana import queries as q
from sloctl_exporters.grafana.model import GREEN, GREY, RED, YELLOW, Panel, Row, Target, stat, timeline

_GPU = "instance, gpu"
_NAME = "{{instance}} GPU {{gpu}}"


def _lines(title: str, text: str, unit: str, *metrics: tuple[Metric, str]) -> Panel:
    targets = [Target(q.gauge(metric, _GPU, "max"), f"{_NAME}{what}") for metric, what in metrics]
    return Panel(title, text, targets, unit, low=0)


def gpu_row() -> Row:
    """The row."""
    return Row("GPU", [*_standing(), *_use(), *_activity(), *_clocks(), *_faults(), *_instances(), *_reading()])


def _standing() -> list[Panel]:
    return [
        stat(
            "GPUs",
            "What the GPUs are.",
            Target(
                f"count by (name, driver, compute_capability) ({q.series(n.GPU_INFO)})",
                "{{name}}, driver {{driver}}, {{compute_capability}}",
            ),
            "short",
            width=8,
        ),
        stat(
            "GPUs that answer",
            "A GPU that fell off the bus is missing here.",
            Target(q.gauge(n.GPUS_PRESENT, "instance"), "{{instance}}"),
            "short",
        ),
        stat(
            "GPUs expected",
            "How many there should be, where it is configured (`telemetry.gpu.expected`).",
            Target(q.gauge(n.GPUS_EXPECTED, "instance"), "{{instance}}"),
            "short",
        ),
        stat(
            "Driver answers",
            "Whether NVIDIA's driver answers.",
            Target(q.gauge(n.NVML_UP, "instance", "min"), "{{instance}}"),
            "short",
            states=[(0, "no", GREY), (1, "yes", GREEN)],
        ),
        stat(
            "Remapped rows",
            "Memory rows remapped after uncorrectable errors and after correctable ones.",
            Target(q.gauge(n.REMAPPED_ROWS, "gpu, cause"), "GPU {{gpu}} {{cause}}"),
            "short",
            steps=[(None, GREEN), (1, YELLOW)],
        ),
        stat(
            "MIG",
            "Whether a GPU is cut into instances.",
            Target(q.gauge(n.MIG_MODE, _GPU, "max"), _NAME),
            "short",
            states=[(0, "off", GREY), (1, "on", GREEN)],
        ),
    ]


def _use() -> list[Panel]:
    return [
        _lines(
            "GPU utilisation",
            "Share of the time in which a kernel ran, and in which memory was read or written.",
            "percentunit",
            (n.UTILIZATION, ""),
            (n.MEMORY_UTILIZATION, " memory"),
        ),
        Panel(
            "Encoder and decoder",
            "Use of the video encoder and decoder.",
            [Target(q.gauge(n.CODEC_UTILIZATION, f"{_GPU}, codec", "max"), f"{_NAME} {{{{codec}}}}")],
            "percentunit",
            low=0,
        ),
        _lines(
            "GPU memory",
            "Memory in use, free and in all.",
            "bytes",
            (n.MEMORY_USED, " used"),
            (n.MEMORY_FREE, " free"),
            (n.MEMORY_TOTAL, " in all"),
        ),
        _lines("Reserved memory", "Memory that driver and firmware keep.", "bytes", (n.MEMORY_RESERVED, "")),
        _lines(
            "Temperature",
            "Temperature of the die and of the memory.",
            "celsius",
            (n.TEMPERATURE, ""),
            (n.MEMORY_TEMPERATURE, " memory"),
        ),
        Panel(
            "Power",
            "Power that the board draws: as read, and as the energy counter says on average.",
            [
                Target(q.gauge(n.POWER, _GPU, "max"), _NAME),
                Target(q.rate(n.ENERGY, _GPU), f"{_NAME} from energy"),
            ],
            "watt",
            low=0,
        ),
        _lines(
            "Power and its limit",
            "Power at the moment of reading, and the limit in force.",
            "watt",
            (n.POWER_INSTANT, ""),
            (n.POWER_LIMIT, " limit"),
        ),
    ]


def _activity() -> list[Panel]:
    return [
        Panel(
            "Activity",
            "Share of time for which parts of the GPU were busy (Hopper and newer).",
            [Target(q.gauge(n.ACTIVITY, f"{_GPU}, engine", "max"), f"{_NAME} {{{{engine}}}}")],
            "percentunit",
            low=0,
        ),
        _lines(
            "Occupancy",
            "Resident warps over the most that fit (Hopper and newer).",
            "percentunit",
            (n.SM_OCCUPANCY, ""),
        ),
        Panel(
            "Buses",
            "Traffic over PCIe and NVLink (Hopper and newer).",
            [Target(q.gauge(n.BUS_RATE, f"{_GPU}, bus, direction", "max"), f"{_NAME} {{{{bus}}}} {{{{direction}}}}")],
            "Bps",
            low=0,
        ),
    ]


def _faults() -> list[Panel]:
    return [
        Panel(
            "XID errors",
            "Errors that the driver reported in the time shown, by code and kind.",
            [Target(q.increase(n.XID_ERRORS, f"{_GPU}, xid, kind"), f"{_NAME} XID {{{{xid}}}} ({{{{kind}}}})")],
            "short",
            low=0,
        ),
        Panel(
            "ECC errors",
            "Memory errors in the time shown.",
            [
                Target(
                    q.increase(n.ECC_ERRORS, f"{_GPU}, error, lifetime"),
                    f"{_NAME} {{{{error}}}}, {{{{lifetime}}}}",
                )
            ],
            "short",
            low=0,
        ),
        Panel(
            "PCIe replays",
            "Packets sent anew.",
            [Target(q.rate(n.PCIE_REPLAYS, _GPU), _NAME)],
            "short",
            low=0,
        ),
        timeline(
            "Row remapping",
            "Whether a remapping waits for a reset of the GPU.",
            Target(q.gauge(n.REMAP_PENDING, _GPU, "max"), _NAME),
            [(0, "-", GREEN), (1, "pending", YELLOW)],
        ),
        timeline(
            "Row remapping failed",
            "Whether a remapping has failed: the GPU is to be replaced.",
            Target(q.gauge(n.REMAP_FAILED, _GPU, "max"), _NAME),
            [(0, "-", GREEN), (1, "failed", RED)],
        ),
        timeline(
            "Recovery action",
            "What the GPU needs.",
            Target(q.gauge(n.RECOVERY_ACTION, _GPU, "max"), _NAME),
            [
                (0, "none", GREEN),
                (1, "GPU reset", RED),
                (2, "node reboot", RED),
                (3, "drain", YELLOW),
                (4, "drain and reset", RED),
            ],
        ),
    ]


def _instances() -> list[Panel]:
    return [
        Panel(
            "Memory of MIG instances",
            "Memory in use and in all.",
            [
                Target(q.gauge(n.INSTANCE_MEMORY_USED, "gpu, instance", "max"), "GPU {{gpu}}/{{instance}} used"),
                Target(q.gauge(n.INSTANCE_MEMORY_TOTAL, "gpu, instance", "max"), "GPU {{gpu}}/{{instance}} in all"),
            ],
            "bytes",
            low=0,
        ),
    ]


def _reading() -> list[Panel]:
    return [
        Panel(
            "Reading of the GPUs",
            "Time that a reading of all GPUs takes.",
            [Target(q.mean(n.NVML_READ_DURATION, "instance"), "{{instance}}")],
            "s",
            low=0,
        ),
        Panel(
            "Failed calls",
            "Calls to the driver that failed, but for unsupported ones.",
            [Target(q.rate(n.NVML_ERRORS, "instance"), "{{instance}}")],
            "ops",
            low=0,
        ),
    ]


def _clocks() -> list[Panel]:
    return [
        Panel(
            "Clocks",
            "Clock rates of the multiprocessors and of the memory.",
            [
                Target(q.gauge(n.CLOCK, f"{_GPU}, clock", "max"), f"{_NAME} {{{{clock}}}}"),
                Target(q.gauge(n.CLOCK_MAX, f"{_GPU}, clock", "max"), f"{_NAME} {{{{clock}}}} at most"),
            ],
            "hertz",
            low=0,
        ),
        timeline(
            "Throttled",
            "Whether heat or the hardware's own protection slows the clocks.",
            Target(q.gauge(n.CLOCKS_THROTTLED, _GPU, "max"), _NAME),
            [(0, "no", GREEN), (1, "throttled", RED)],
        ),
        timeline(
            "Clocks' event reasons",
            "What holds the clocks below their highest.",
            Target(q.gauge(n.CLOCKS_EVENT_REASON, f"{_GPU}, reason", "max"), f"{_NAME} {{{{reason}}}}"),
            [(0, "-", GREY), (1, "holds", YELLOW)],
            width=16,
        ),
        Panel(
            "Time that clocks were held",
            "Share of time for which each reason held the clocks.",
            [Target(q.rate(n.CLOCKS_EVENT_SECONDS, f"{_GPU}, reason"), f"{_NAME} {{{{reason}}}}")],
            "percentunit",
            low=0,
        ),
    ]
