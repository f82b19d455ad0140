"""The dashboard 'sloctl: GPU and MIG', from NVML's metrics: of the daemon, or of sloctl-nvml-exporter alone."""

from sloctl.telemetry.catalogue import Metric
from sloctl_exporters import nvml_metrics as n
from sloctl_exporters.grafana import marks, variables
from sloctl_exporters.grafana.model import (
    GREEN,
    GREY,
    RED,
    YELLOW,
    Column,
    Dashboard,
    Link,
    Panel,
    Row,
    Steps,
    Target,
)
from sloctl_exporters.grafana.panels import lines, stat, table, timeline
from sloctl_exporters.grafana.queries import Queries

_GPU = "instance, gpu"
_NAME = "{{instance}} GPU {{gpu}}"
_MIG = f"{_GPU}, gpu_instance"
_MIG_NAME = f"{_NAME}/{{{{gpu_instance}}}}"
_KEYS = ("instance", "gpu")
_NO_GPU = "No GPU here, or no driver"
_NOT_TOLD = "No GPU here, or none that tells this"
_HOPPER = "No GPU here that tells this: Hopper and newer do"
_NO_MIG = "No GPU here is cut into MIG instances"
_NO_XIDS = "No XID seen since the reading process began"
_ANY: Steps = [(None, GREEN), (1, YELLOW)]

_q = Queries(variables.BY_GPU)


def gpu() -> Dashboard:
    """The dashboard."""
    return Dashboard(
        "sloctl-gpu",
        "sloctl: GPU and MIG",
        "What NVIDIA's driver tells of each GPU and MIG instance: use, memory, heat, power, clocks, buses, faults.",
        [*variables.standard(known_by=n.NVML_UP.name), variables.gpu()],
        [
            Row("At a glance", _glance()),
            Row("Use and memory", _use()),
            Row("Heat, power and clocks", _power()),
            Row("Buses", _buses()),
            Row("Faults", _faults()),
            Row("MIG instances", _instances()),
            Row("Reading", _reading()),
        ],
        [marks.xids(_q)],
    )


def _lines(title: str, text: str, unit: str, *metrics: tuple[Metric, str], empty: str = _NO_GPU) -> Panel:
    """A line for each GPU and metric."""
    targets = [Target(_q.gauge(metric, _GPU, "max"), f"{_NAME}{what}") for metric, what in metrics]
    return lines(title, text, unit, *targets, empty=empty)


def _glance() -> list[Panel]:
    return [
        stat(
            "GPUs",
            "What the GPUs are.",
            Target(
                _q.count(n.GPU_INFO, "name, driver, compute_capability"),
                "{{name}}, driver {{driver}}, {{compute_capability}}",
            ),
            "short",
            width=8,
            empty=_NO_GPU,
        ),
        stat(
            "GPUs that answer",
            "A GPU that fell off the bus is missing here.",
            Target(_q.gauge(n.GPUS_PRESENT, "instance"), "{{instance}}"),
            "short",
        ),
        stat(
            "GPUs expected",
            "How many there should be, where it is configured (`telemetry.gpu.expected`).",
            Target(_q.gauge(n.GPUS_EXPECTED, "instance"), "{{instance}}"),
            "short",
            empty="Not configured",
        ),
        stat(
            "Driver answers",
            "Whether NVIDIA's driver answers.",
            Target(_q.gauge(n.NVML_UP, "instance", "min"), "{{instance}}"),
            "short",
            states=[(0, "no", GREY), (1, "yes", GREEN)],
        ),
        stat(
            "MIG",
            "Whether a GPU is cut into instances.",
            Target(_q.gauge(n.MIG_MODE, _GPU, "max"), _NAME),
            "short",
            states=[(0, "off", GREY), (1, "on", GREEN)],
            empty=_NOT_TOLD,
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
        lines(
            "Activity",
            "Share of time for which parts of the GPU were busy (Hopper and newer).",
            "percentunit",
            Target(_q.gauge(n.ACTIVITY, f"{_GPU}, engine", "max"), f"{_NAME} {{{{engine}}}}"),
            empty=_HOPPER,
        ),
        _lines(
            "Occupancy",
            "Resident warps over the most that fit (Hopper and newer).",
            "percentunit",
            (n.SM_OCCUPANCY, ""),
            empty=_HOPPER,
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
        lines(
            "Encoder and decoder",
            "Use of the video encoder and decoder.",
            "percentunit",
            Target(_q.gauge(n.CODEC_UTILIZATION, f"{_GPU}, codec", "max"), f"{_NAME} {{{{codec}}}}"),
            empty=_NOT_TOLD,
        ),
    ]


def _power() -> list[Panel]:
    return [
        _lines(
            "Temperature",
            "Temperature of the die and of the memory.",
            "celsius",
            (n.TEMPERATURE, ""),
            (n.MEMORY_TEMPERATURE, " memory"),
        ),
        lines(
            "Power",
            "Power that the board draws: averaged by the driver, and by the energy counter.",
            "watt",
            Target(_q.gauge(n.POWER, _GPU, "max"), _NAME),
            Target(_q.rate(n.ENERGY, _GPU), f"{_NAME} from energy"),
            empty=_NO_GPU,
        ),
        _lines(
            "Power and its limit",
            "Power at the moment of reading, and the limit in force.",
            "watt",
            (n.POWER_INSTANT, ""),
            (n.POWER_LIMIT, " limit"),
        ),
        lines(
            "Clocks",
            "Clock rates of the multiprocessors and of the memory.",
            "hertz",
            Target(_q.gauge(n.CLOCK, f"{_GPU}, clock", "max"), f"{_NAME} {{{{clock}}}}"),
            Target(_q.gauge(n.CLOCK_MAX, f"{_GPU}, clock", "max"), f"{_NAME} {{{{clock}}}} at most"),
            empty=_NO_GPU,
        ),
        timeline(
            "Clocks' event reasons",
            "What holds the clocks below their highest.",
            Target(_q.gauge(n.CLOCKS_EVENT_REASON, f"{_GPU}, reason", "max"), f"{_NAME} {{{{reason}}}}"),
            [(0, "-", GREY), (1, "holds", YELLOW)],
            empty=_NO_GPU,
        ),
        lines(
            "Time that clocks were held",
            "Share of time for which each reason held the clocks.",
            "percentunit",
            Target(_q.rate(n.CLOCKS_EVENT_SECONDS, f"{_GPU}, reason"), f"{_NAME} {{{{reason}}}}"),
            empty=_NO_GPU,
        ),
        timeline(
            "Throttled",
            "Whether heat or the hardware's own protection slows the clocks.",
            Target(_q.gauge(n.CLOCKS_THROTTLED, _GPU, "max"), _NAME),
            [(0, "no", GREEN), (1, "throttled", RED)],
            empty=_NO_GPU,
        ),
    ]


def _buses() -> list[Panel]:
    return [
        lines(
            "Buses",
            "Traffic over PCIe and NVLink (Hopper and newer).",
            "Bps",
            Target(_q.gauge(n.BUS_RATE, f"{_GPU}, bus, direction", "max"), f"{_NAME} {{{{bus}}}} {{{{direction}}}}"),
            empty=_HOPPER,
        ),
        lines(
            "NVLink",
            "Data over all NVLinks, as the driver counts it.",
            "Bps",
            Target(_q.rate(n.NVLINK_BYTES, f"{_GPU}, direction"), f"{_NAME} {{{{direction}}}}"),
            empty="No NVLink here",
        ),
        lines(
            "PCIe replays",
            "Packets sent anew.",
            "pps",
            Target(_q.rate(n.PCIE_REPLAYS, _GPU), _NAME),
            empty=_NOT_TOLD,
        ),
    ]


def _faults() -> list[Panel]:
    return [
        table(
            "XID errors",
            "Errors that the driver reported, by code and kind: when last, and how many in the time shown but for the "
            "first one. `docs/nvml-exporter.md` says what they mean.",
            (*_KEYS, "kind", "xid"),
            [
                Column("Last", f"1000 * {_q.gauge(n.XID_LAST, f'{_GPU}, kind, xid', 'max')}", "dateTimeFromNow"),
                Column("In this time", _q.increase(n.XID_ERRORS, f"{_GPU}, kind, xid"), "short"),
            ],
            link=Link("NVIDIA on this XID", "https://docs.nvidia.com/deploy/xid-errors/index.html"),
            by="Last",
            descending=True,
            width=12,
            height=8,
            empty=_NO_XIDS,
        ),
        lines(
            "ECC errors",
            "Memory errors in the time shown.",
            "short",
            Target(_q.increase(n.ECC_ERRORS, f"{_GPU}, error, lifetime"), f"{_NAME} {{{{error}}}}, {{{{lifetime}}}}"),
            width=12,
            empty=_NOT_TOLD,
        ),
        stat(
            "Remapped rows",
            "Memory rows remapped after uncorrectable errors and after correctable ones (Ampere and newer).",
            Target(_q.gauge(n.REMAPPED_ROWS, "gpu, cause"), "GPU {{gpu}} {{cause}}"),
            "short",
            steps=_ANY,
            width=6,
            height=8,
            empty=_NOT_TOLD,
        ),
        stat(
            "Retired pages",
            "Memory pages retired, by cause (GPUs before Ampere).",
            Target(_q.gauge(n.RETIRED_PAGES, "gpu, cause"), "GPU {{gpu}} {{cause}}"),
            "short",
            steps=_ANY,
            width=6,
            height=8,
            empty="No GPU here that tells this: those before Ampere do",
        ),
        timeline(
            "Row remapping",
            "Whether a remapping waits for a reset of the GPU, or has failed: then the GPU is to be replaced.",
            Target(
                f"clamp_max(2 * {_q.gauge(n.REMAP_FAILED, _GPU, 'max')} + {_q.gauge(n.REMAP_PENDING, _GPU, 'max')}, 2)",
                _NAME,
            ),
            [(0, "-", GREEN), (1, "pending", YELLOW), (2, "failed", RED)],
            width=6,
            empty=_NOT_TOLD,
        ),
        timeline(
            "Recovery action",
            "What the GPU needs.",
            Target(_q.gauge(n.RECOVERY_ACTION, _GPU, "max"), _NAME),
            [
                (0, "none", GREEN),
                (1, "GPU reset", RED),
                (2, "node reboot", RED),
                (3, "drain", YELLOW),
                (4, "drain and reset", RED),
            ],
            width=6,
            empty=_NOT_TOLD,
        ),
    ]


def _instances() -> list[Panel]:
    by_engine = f"{_MIG}, engine"
    return [
        stat(
            "Instances",
            "The MIG instances, by profile.",
            Target(_q.count(n.INSTANCE_INFO, "instance, gpu, profile"), f"{_NAME} {{{{profile}}}}"),
            "short",
            width=8,
            height=8,
            empty=_NO_MIG,
        ),
        lines(
            "Memory of MIG instances",
            "Memory in use and in all.",
            "bytes",
            Target(_q.gauge(n.INSTANCE_MEMORY_USED, _MIG, "max"), f"{_MIG_NAME} used"),
            Target(_q.gauge(n.INSTANCE_MEMORY_TOTAL, _MIG, "max"), f"{_MIG_NAME} in all"),
            empty=_NO_MIG,
        ),
        lines(
            "Activity of MIG instances",
            "Share of time for which parts of an instance were busy (Hopper and newer).",
            "percentunit",
            Target(_q.gauge(n.INSTANCE_ACTIVITY, by_engine, "max"), f"{_MIG_NAME} {{{{engine}}}}"),
            empty=_NO_MIG,
        ),
    ]


def _reading() -> list[Panel]:
    return [
        lines(
            "Time of a reading",
            "Time that a reading of all GPUs takes.",
            "s",
            Target(_q.mean(n.NVML_READ_DURATION, "instance"), "{{instance}}"),
        ),
        lines(
            "Failed calls",
            "Calls to the driver that failed, but for unsupported ones.",
            "ops",
            Target(_q.rate(n.NVML_ERRORS, "instance"), "{{instance}}"),
        ),
        stat(
            "What GPUs do not tell",
            "Values that a GPU or its driver does not support, and why.",
            Target(_q.count(n.UNSUPPORTED, "what, reason"), "{{what}}: {{reason}}"),
            "short",
            width=8,
            height=8,
            empty="No GPU here, or all of them tell everything",
        ),
    ]
