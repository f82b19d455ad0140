"""The dashboard's row on GPUs, from NVML's metrics. On a machine without one it stays empty."""

from sloctl.telemetry.catalogue import Metric
from sloctl_exporters import nvml_probes as n
from sloctl_exporters.grafana import queries as q
from sloctl_exporters.grafana.model import GREEN, GREY, RED, YELLOW, Panel, Row, Target, stat, timeline

_GPU = "instance, gpu"
_NAME = "{{instance}} GPU {{gpu}}"


def _lines(title: str, text: str, unit: str, *metrics: tuple[Metric, str]) -> Panel:
    targets = [Target(q.gauge(metric, _GPU, "max"), f"{_NAME}{what}") for metric, what in metrics]
    return Panel(title, text, targets, unit, low=0)


def gpu_row() -> Row:
    """The row."""
    return Row("GPU", [*_standing(), *_use(), *_clocks()])


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
        _lines(
            "GPU memory",
            "Memory in use, free and in all.",
            "bytes",
            (n.MEMORY_USED, " used"),
            (n.MEMORY_FREE, " free"),
            (n.MEMORY_TOTAL, " in all"),
        ),
        _lines("Temperature", "Temperature of the die.", "celsius", (n.TEMPERATURE, "")),
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
    ]


def _clocks() -> list[Panel]:
    return [
        Panel(
            "Clocks",
            "Clock rates of the multiprocessors and of the memory.",
            [Target(q.gauge(n.CLOCK, f"{_GPU}, clock", "max"), f"{_NAME} {{{{clock}}}}")],
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
            width=24,
        ),
    ]
