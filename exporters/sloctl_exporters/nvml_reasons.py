"""Clock event reasons: what holds a GPU's clocks now, and for how long it has."""

from collections.abc import Collection
from typing import Any

from sloctl.telemetry.catalogue import CLOCKS_EVENT_REASONS
from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_probes import Reading

# nvml.h's bits, written out: pynvml's names for them changed between its releases.
_BITS = {reason: 1 << bit for bit, reason in enumerate(CLOCKS_EVENT_REASONS)}
_THROTTLED = 0x8 | 0x20 | 0x40 | 0x80


class ReasonClock:
    """Adds up how long each reason held: one that is there at a reading held since the reading before.

    This is for the reasons whose time the driver does not count; it misses what comes and goes in between.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(CLOCKS_EVENT_REASONS, 0.0)
        self._at: float | None = None

    def pause(self) -> None:
        """Time until the next reading is nobody's: the GPU did not answer."""
        self._at = None

    def read(self, nvml: Any, gpu: Any, now: float, counted: Collection[str]) -> Reading:
        """The reasons at this moment, and the seconds of those that are not `counted` by the driver."""
        bits = nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)
        passed = 0.0 if self._at is None else now - self._at
        self._at = now
        yield m.CLOCKS_THROTTLED, (), float(bits & _THROTTLED != 0)
        for reason, bit in _BITS.items():
            holds = float(bits & bit != 0)
            yield m.CLOCKS_EVENT_REASON, (reason,), holds
            self._seconds[reason] += holds * passed
            if reason not in counted:
                yield m.CLOCKS_EVENT_SECONDS, (reason, "sampled"), self._seconds[reason]


def reasons_in(values: dict[tuple[str, tuple[str, ...]], float]) -> frozenset[str]:
    """The reasons that hold, among values read."""
    return frozenset(r for r in CLOCKS_EVENT_REASONS if values.get((m.CLOCKS_EVENT_REASON.name, (r,))) == 1.0)
