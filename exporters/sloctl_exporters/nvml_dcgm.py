"""The same values under dcgm-exporter's names, units and labels, for dashboards that people already have.

Names, types and help follow dcgm-exporter's default-counters.csv and dcp-metrics-included.csv. Where it repeats
a GPU's temperature or power for each of its MIG instances, here it stands once, without GPU_I_ID.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sloctl.telemetry.catalogue import Kind, Metric, Plane
from sloctl.telemetry.families import Family
from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_gpu import Gpu
from sloctl_exporters.nvml_xid import NAMES

_LABELS = ("gpu", "UUID", "pci_bus_id", "device", "modelName")
_MIG_LABELS = ("GPU_I_PROFILE", "GPU_I_ID")
_XID_LABELS = ("err_code", "err_msg")
_MIB = 1 / 1024**2


@dataclass(frozen=True, slots=True)
class Term:
    """A value of ours and the factor that takes it to dcgm's unit."""

    metric: Metric
    labels: tuple[str, ...] = ()
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Alias:
    """A metric of dcgm-exporter: the sum of `terms`, of which the first must be there.

    `instance` tells the same of a MIG instance, which stands in the place of its parent's value.
    """

    name: str
    kind: Kind
    help: str
    terms: tuple[Term, ...]
    instance: tuple[Term, ...] = ()


def _dev(name: str, kind: Kind, text: str, *terms: Term, instance: tuple[Term, ...] = ()) -> Alias:
    return Alias(f"DCGM_FI_DEV_{name}", kind, text, terms, instance)


def _prof(name: str, text: str, term: Term, instance: str = "") -> Alias:
    own = (Term(m.INSTANCE_ACTIVITY, (instance,)),) if instance else ()
    return Alias(f"DCGM_FI_PROF_{name}", Kind.GAUGE, text, (term,), own)


def _active(name: str, text: str, engine: str) -> Alias:
    return _prof(name, text, Term(m.ACTIVITY, (engine,)), engine)


_G, _C = Kind.GAUGE, Kind.COUNTER
ALIASES: tuple[Alias, ...] = (
    _dev("SM_CLOCK", _G, "SM clock frequency (in MHz).", Term(m.CLOCK, ("sm",), 1e-6)),
    _dev("MEM_CLOCK", _G, "Memory clock frequency (in MHz).", Term(m.CLOCK, ("memory",), 1e-6)),
    _dev("MEMORY_TEMP", _G, "Memory temperature (in C).", Term(m.MEMORY_TEMPERATURE)),
    _dev("GPU_TEMP", _G, "GPU temperature (in C).", Term(m.TEMPERATURE)),
    _dev("POWER_USAGE", _G, "Power draw (in W).", Term(m.POWER)),
    _dev("TOTAL_ENERGY_CONSUMPTION", _C, "Total energy consumption since boot (in mJ).", Term(m.ENERGY, (), 1e3)),
    _dev("PCIE_REPLAY_COUNTER", _C, "Total number of PCIe retries.", Term(m.PCIE_REPLAYS)),
    _dev("GPU_UTIL", _G, "GPU utilization (in %).", Term(m.UTILIZATION, (), 100)),
    _dev("MEM_COPY_UTIL", _G, "Memory utilization (in %).", Term(m.MEMORY_UTILIZATION, (), 100)),
    _dev("ENC_UTIL", _G, "Encoder utilization (in %).", Term(m.CODEC_UTILIZATION, ("encoder",), 100)),
    _dev("DEC_UTIL", _G, "Decoder utilization (in %).", Term(m.CODEC_UTILIZATION, ("decoder",), 100)),
    _dev(
        "FB_FREE",
        _G,
        "Framebuffer memory free (in MiB).",
        Term(m.MEMORY_FREE, (), _MIB),
        instance=(Term(m.INSTANCE_MEMORY_TOTAL, (), _MIB), Term(m.INSTANCE_MEMORY_USED, (), -_MIB)),
    ),
    _dev(
        "FB_USED",
        _G,
        "Framebuffer memory used (in MiB).",
        Term(m.MEMORY_USED, (), _MIB),
        Term(m.MEMORY_RESERVED, (), -_MIB),
        instance=(Term(m.INSTANCE_MEMORY_USED, (), _MIB),),
    ),
    _dev("FB_RESERVED", _G, "Framebuffer memory reserved (in MiB).", Term(m.MEMORY_RESERVED, (), _MIB)),
    _dev(
        "NVLINK_BANDWIDTH_TOTAL",
        _C,
        "Total number of NVLink bandwidth counters for all lanes (in KiB).",
        Term(m.NVLINK_BYTES, ("tx",), 1 / 1024),
        Term(m.NVLINK_BYTES, ("rx",), 1 / 1024),
    ),
    _dev(
        "UNCORRECTABLE_REMAPPED_ROWS",
        _C,
        "Number of remapped rows for uncorrectable errors",
        Term(m.REMAPPED_ROWS, ("uncorrectable",)),
    ),
    _dev(
        "CORRECTABLE_REMAPPED_ROWS",
        _C,
        "Number of remapped rows for correctable errors",
        Term(m.REMAPPED_ROWS, ("correctable",)),
    ),
    _dev("ROW_REMAP_FAILURE", _G, "Whether remapping of rows has failed", Term(m.REMAP_FAILED)),
    _dev(
        "ECC_SBE_VOL_TOTAL",
        _C,
        "Total number of single-bit volatile ECC errors.",
        Term(m.ECC_ERRORS, ("corrected", "volatile")),
    ),
    _dev(
        "ECC_DBE_VOL_TOTAL",
        _C,
        "Total number of double-bit volatile ECC errors.",
        Term(m.ECC_ERRORS, ("uncorrected", "volatile")),
    ),
    _dev(
        "ECC_SBE_AGG_TOTAL",
        _C,
        "Total number of single-bit persistent ECC errors.",
        Term(m.ECC_ERRORS, ("corrected", "aggregate")),
    ),
    _dev(
        "ECC_DBE_AGG_TOTAL",
        _C,
        "Total number of double-bit persistent ECC errors.",
        Term(m.ECC_ERRORS, ("uncorrected", "aggregate")),
    ),
    _dev(
        "RETIRED_SBE",
        _C,
        "Total number of retired pages due to single-bit errors.",
        Term(m.RETIRED_PAGES, ("single_bit",)),
    ),
    _dev(
        "RETIRED_DBE",
        _C,
        "Total number of retired pages due to double-bit errors.",
        Term(m.RETIRED_PAGES, ("double_bit",)),
    ),
    _dev(
        "POWER_VIOLATION",
        _C,
        "Throttling duration due to power constraints (in ns).",
        Term(m.CLOCKS_EVENT_SECONDS, ("sw_power_cap", "driver"), 1e9),
    ),
    _active("GR_ENGINE_ACTIVE", "Ratio of time the graphics engine is active.", "graphics"),
    _active("SM_ACTIVE", "The ratio of cycles an SM has at least 1 warp assigned.", "sm"),
    _prof("SM_OCCUPANCY", "The ratio of number of warps resident on an SM.", Term(m.SM_OCCUPANCY)),
    _active("PIPE_TENSOR_ACTIVE", "Ratio of cycles the tensor (HMMA) pipe is active.", "tensor"),
    _active("DRAM_ACTIVE", "Ratio of cycles the device memory interface is active sending or receiving data.", "dram"),
    _active("PIPE_FP64_ACTIVE", "Ratio of cycles the fp64 pipes are active.", "fp64"),
    _active("PIPE_FP32_ACTIVE", "Ratio of cycles the fp32 pipes are active.", "fp32"),
    _active("PIPE_FP16_ACTIVE", "Ratio of cycles the fp16 pipes are active.", "fp16"),
    _prof(
        "PCIE_TX_BYTES",
        "The rate of data transmitted over the PCIe bus, in bytes per second.",
        Term(m.BUS_RATE, ("pcie", "tx")),
    ),
    _prof(
        "PCIE_RX_BYTES",
        "The rate of data received over the PCIe bus, in bytes per second.",
        Term(m.BUS_RATE, ("pcie", "rx")),
    ),
    _prof(
        "NVLINK_TX_BYTES",
        "The rate of data transmitted over NVLink, in bytes per second.",
        Term(m.BUS_RATE, ("nvlink", "tx")),
    ),
    _prof(
        "NVLINK_RX_BYTES",
        "The rate of data received over NVLink, in bytes per second.",
        Term(m.BUS_RATE, ("nvlink", "rx")),
    ),
)
_XID = "DCGM_FI_DEV_XID_ERRORS"
XID_HELP = "Value of the last XID error encountered."


def dcgm_families(gpus: Sequence[Gpu], hostname: str, hostname_label: str = "Hostname") -> list[Family]:
    """The families of these GPUs. `hostname_label` is `hostname` in dcgm-exporter 4.8.2 and newer."""
    instances = {gpu.identity.uuid: _instances(gpu) for gpu in gpus}
    cut = _MIG_LABELS if any(instances.values()) else ()  # the labels are there under MIG only
    last = (hostname_label, "DCGM_FI_DRIVER_VERSION")
    found = []
    for alias in ALIASES:
        family = Family(Metric(alias.name, alias.kind, "1", (*_LABELS, *cut, *last), alias.help, Plane.CONTROL))
        for gpu in gpus:
            host = (hostname, gpu.identity.driver)
            own = instances[gpu.identity.uuid] if alias.instance else {}
            for instance, profile in own.items():
                value = _value(gpu, alias.instance, instance)
                if value is not None:
                    family.samples.append(((*_who(gpu), profile, instance, *host), value))
            if not own and (value := _value(gpu, alias.terms)) is not None:
                family.samples.append(((*_who(gpu), *("" for _ in cut), *host), value))
        found.append(family)
    return [*found, _xids(gpus, hostname, last)]


def _who(gpu: Gpu) -> tuple[str, ...]:
    who = gpu.identity
    return (str(who.index), who.uuid, who.pci_bus_id, f"nvidia{who.index}", who.name)


def _instances(gpu: Gpu) -> dict[str, str]:
    """Profiles of a GPU's instances by their id."""
    return {labels[0]: labels[1] for name, labels in gpu.values if name == m.INSTANCE_INFO.name}


def _value(gpu: Gpu, terms: tuple[Term, ...], *instance: str) -> float | None:
    values = [gpu.values.get((term.metric.name, (*instance, *term.labels))) for term in terms]
    if values[0] is None:
        return None
    return sum(value * term.factor for value, term in zip(values, terms, strict=True) if value is not None)


def _xids(gpus: Sequence[Gpu], hostname: str, last: tuple[str, ...]) -> Family:
    metric = Metric(_XID, Kind.GAUGE, "1", (*_LABELS, *last, *_XID_LABELS), XID_HELP, Plane.CONTROL)
    family = Family(metric)
    for gpu in gpus:
        if "XID events" not in gpu.unsupported:
            code = gpu.kept.xids.last
            error = (str(code), NAMES.get(code, "Unknown Error"))
            family.samples.append(((*_who(gpu), hostname, gpu.identity.driver, *error), float(code)))
    return family
