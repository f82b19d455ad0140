"""Reads the GPUs on a clock of its own, so that any number of scrapes share one reading."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from sloctl.telemetry.families import Family
from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml import GpuFacts, NvmlSource

_PATIENCE = 5  # readings that may be missed before values count as stale
_LEAST_PATIENCE = 10.0  # seconds

log = structlog.get_logger("sloctl.nvml")


@dataclass(frozen=True, slots=True)
class _Reading:
    families: list[Family]
    at: float
    facts: Mapping[str, GpuFacts] = field(default_factory=dict)  # by device


class Ticker:
    """A thread that reads the source every `interval` seconds. Times are on `clock`, in seconds."""

    def __init__(
        self,
        source: NvmlSource,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
        devices: Sequence[str] = (),
    ) -> None:
        """`devices` are those that `facts` tells of."""
        self._devices = devices
        self._source = source
        self._interval = interval
        self._clock = clock
        self._last = _Reading([], clock())
        self._stop = threading.Event()
        # A call that hangs in the driver must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it, unless a call hangs in the driver."""
        self._stop.set()
        self._thread.join(timeout=2)
        if not self._thread.is_alive():
            self._source.close()

    def tick(self) -> None:
        """One reading."""
        try:
            families = self._source.read()
            found = {device: facts for device in self._devices if (facts := self._source.facts(device))}
            self._last = _Reading(families, self._clock(), found)
        except Exception:
            # A mistake of ours in one reading must not end them all; the values go stale and /health says so.
            log.exception("a reading failed")

    @property
    def age(self) -> float:
        """Seconds since the last reading ended."""
        return self._clock() - self._last.at

    @property
    def stale(self) -> bool:
        """Whether readings hang: what was read last no longer tells how the GPUs are."""
        return self.age > max(_PATIENCE * self._interval, _LEAST_PATIENCE)

    def families(self) -> list[Family]:
        """The last reading's; once it is stale only what tells of the reading itself."""
        families = self._last.families
        if not self.stale:
            return families
        own = {metric.name for metric in m.OWN_METRICS}
        return [Family(f.metric, [((), 0.0)]) if f.metric is m.NVML_UP else f for f in families if f.metric.name in own]

    def facts(self) -> Mapping[str, GpuFacts]:
        """The last reading's facts by device; none once it is stale."""
        return {} if self.stale else self._last.facts

    def health(self) -> dict[str, Any]:
        """For people and probes: whether readings go on, and what the driver says."""
        return {
            "status": "stale" if self.stale else "ok",
            "driver": self._source.state,
            "gpus": {"present": self._source.present, "expected": self._source.expected},
            "lastReadingSecondsAgo": round(self.age, 3),
        }

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = self._clock()
            self.tick()
            self._stop.wait(max(self._interval - (self._clock() - begun), 0.0))
