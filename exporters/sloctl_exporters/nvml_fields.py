"""Field values: everything that NVML tells by a number of a field, in one call a tick.

What is slow to change takes turns, a fifth of it a tick: on an H200 the energy alone takes 3 ms, and each time
that the driver counts 0.7 ms. Fields 197 and 198 (PCIe bytes) are not here: they are 32 bits wide and come
around within a fifth of a second on a busy bus; GPM tells the rates.
"""

from dataclasses import dataclass
from typing import Any

from sloctl.telemetry.catalogue import Metric
from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_errors import is_driver_gone, is_gpu_gone, is_unsupported
from sloctl_exporters.nvml_probes import Reading, Refuse

_ALL_LINKS = 0xFFFFFFFF  # nvml.h: a scope of UINT_MAX sums over all NVLinks
_MILLI, _NANO, _KIB = 1e-3, 1e-9, 1024.0
_TURNS = 5
# nvml.h's valueType to the member of the union that holds it.
_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of nvml.h by its number, and the metric that it fills; `scale` brings it to base units."""

    number: int
    name: str
    metric: Metric
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    scope: int = 0
    turns: bool = True  # takes turns with others


# Clock event reasons whose time the driver itself counts, in nanoseconds.
COUNTED_REASONS = {
    "sw_power_cap": 74,
    "sync_boost": 76,
    "sw_thermal_slowdown": 269,
    "hw_thermal_slowdown": 270,
    "hw_power_brake_slowdown": 271,
}


def reason_field(reason: str) -> str:
    """The name of the field that counts a reason's time."""
    return f"seconds of {reason}"


FIELDS: tuple[Field, ...] = (
    Field(3, "volatile corrected ECC errors", m.ECC_ERRORS, ("corrected", "volatile")),
    Field(4, "volatile uncorrected ECC errors", m.ECC_ERRORS, ("uncorrected", "volatile")),
    Field(5, "aggregate corrected ECC errors", m.ECC_ERRORS, ("corrected", "aggregate")),
    Field(6, "aggregate uncorrected ECC errors", m.ECC_ERRORS, ("uncorrected", "aggregate")),
    Field(82, "memory temperature", m.MEMORY_TEMPERATURE, turns=False),
    Field(83, "energy", m.ENERGY, (), _MILLI),
    Field(94, "PCIe replays", m.PCIE_REPLAYS),
    Field(138, "NVLink bytes sent", m.NVLINK_BYTES, ("tx",), _KIB, _ALL_LINKS),
    Field(139, "NVLink bytes received", m.NVLINK_BYTES, ("rx",), _KIB, _ALL_LINKS),
    Field(142, "rows remapped, correctable", m.REMAPPED_ROWS, ("correctable",)),
    Field(143, "rows remapped, uncorrectable", m.REMAPPED_ROWS, ("uncorrectable",)),
    Field(144, "row remapping pending", m.REMAP_PENDING),
    Field(145, "row remapping failed", m.REMAP_FAILED),
    Field(186, "power at this moment", m.POWER_INSTANT, (), _MILLI, turns=False),
    Field(190, "power limit", m.POWER_LIMIT, (), _MILLI),
    Field(230, "recovery action", m.RECOVERY_ACTION),
    *(
        Field(number, reason_field(reason), m.CLOCKS_EVENT_SECONDS, (reason, "driver"), _NANO)
        for reason, number in COUNTED_REASONS.items()
    ),
)


class FieldBatch:
    """The fields of one GPU. Those that it does not tell are refused once and left out from then on."""

    def __init__(self, nvml: Any, handle: Any, refuse: Refuse) -> None:
        self._nvml = nvml
        self._handle = handle
        self._refuse = refuse
        self._rounds = 0
        self._values: dict[Field, float | None] = dict.fromkeys(FIELDS)  # None: not read yet

    def read(self) -> Reading:
        """One call for those whose turn it is; the others as they were. NVMLError where the GPU fails."""
        due = self._due()
        if due:
            answers = self._nvml.nvmlDeviceGetFieldValues(self._handle, [(f.number, f.scope) for f in due])
            for field, answer in zip(due, answers, strict=True):
                self._take(field, answer)
        self._rounds += 1
        return [(f.metric, f.labels, value) for f, value in self._values.items() if value is not None]

    def _due(self) -> list[Field]:
        if self._rounds == 0:  # so that every series is there from the start
            return list(self._values)
        in_turn = [field for field in self._values if field.turns]
        return [f for f in self._values if not f.turns] + in_turn[self._rounds % _TURNS :: _TURNS]

    def _take(self, field: Field, answer: Any) -> None:
        nvml, code = self._nvml, answer.nvmlReturn
        if code == 0:
            self._values[field] = float(getattr(answer.value, _MEMBERS[answer.valueType])) * field.scale
        elif is_driver_gone(nvml, code) or is_gpu_gone(nvml, code):
            raise nvml.NVMLError(code)
        elif is_unsupported(nvml, code) or code == nvml.NVML_ERROR_INVALID_ARGUMENT:
            # A driver that is older than a field calls its number an invalid argument.
            del self._values[field]
            self._refuse(field.name, str(nvml.NVMLError(code)))
        else:
            self._values[field] = None
