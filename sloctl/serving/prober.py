"""Asks every loaded variant, at intervals and beside the load, whether it still infers.

Each variant has a thread for its probes, and its engine checks on buffers (where it can, a context) of its own,
so a probe neither waits for batches nor holds them up. What the load itself says counts as well: a variant whose
batches hang or fail is not healthy because a probe beside them passes.

A probe is due every half interval and, after a miss, a tenth of one later; so readiness falls within one interval
of a fault, unless the probes would then take more than their share of time.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from sloctl.board import Fault, LevelState
from sloctl.config.daemon import HealthConfig
from sloctl.engines.base import DeviceLostError
from sloctl.serving.health import PROBE_SHARE, ProbeOutcome
from sloctl.serving.memory import headroom
from sloctl.serving.model import ModelService
from sloctl.serving.variant import Variant
from sloctl.serving.worker import EngineThread

_PERIOD, _RETRY = 0.5, 0.1  # of the interval: between probes, and from a miss to the next
_WAITED = 2.0  # times the seconds of one row; longer than that it has waited
_LONG = 5.0  # times the timeout that a probe may stay away while batches succeed
_FAILED_BATCHES = 3  # in a row: the load says that the variant is ill
_MEMORY = 10.0  # intervals for which that counts; without another batch nothing more is known
_DOUBLINGS = 6  # of that time, once for each return after which batches failed again

ThreadFactory = Callable[[str], EngineThread]


class DeviceChecks(Protocol):
    """What is asked about a variant's device; a folder ends with model and variant. All raise EngineError."""

    def check_device(self, folder: Path) -> str:
        """Level 1: the device answers."""

    def check_monitoring(self, folder: Path) -> str:
        """Whether its management library answers ("" where there is none); inference does not need it."""

    def free_memory(self, folder: Path) -> int:
        """Free bytes of the device."""


@dataclass(slots=True)
class Attempt:
    """What a probe found: `failed` is the level that failed (empty: none), `why` its reason."""

    device: str = ""
    monitoring: str = ""  # why it does not answer
    free: int | None = None  # bytes of the device
    failed: str = ""
    why: str = ""
    lost: bool = False  # the device, to this process
    seconds: float = 0.0


def attempt(checks: DeviceChecks, folder: Path, probe: Callable[[], None], faults: Callable[[], Fault]) -> Attempt:
    """Makes all checks; never raises."""
    started, found = time.perf_counter(), Attempt()
    level = "device"
    try:
        found.device = checks.check_device(folder)
        found.monitoring = _monitoring(checks, folder, faults())
        found.free = checks.free_memory(folder)
        level = "inference"
        probe()
    except Exception as error:  # whatever a runtime throws is a failed check
        found.failed, found.why = level, str(error) or type(error).__name__
        found.lost = isinstance(error, DeviceLostError)
    found.seconds = time.perf_counter() - started
    return found


def _monitoring(checks: DeviceChecks, folder: Path, faults: Fault) -> str:
    if faults & Fault.NVML:
        return "injected fault: NVML does not answer"
    try:
        checks.check_monitoring(folder)
    except Exception as error:
        return str(error)
    return ""


@dataclass(slots=True)
class _Probe:
    """The probes of one variant; `started` is set while one is away."""

    model: ModelService
    variant: Variant
    thread: EngineThread
    folder: Path
    started: float | None = None
    late: bool = False  # that one has been judged already
    due: float = 0.0
    owed: float = 0.0  # seconds of pace that a retry did not wait
    seconds: float = 0.0  # of the last one
    returns: int = 0  # to a variant whose batches fail
    forgiven: float = 0.0  # the failed batch after which it was last returned to


class Prober:
    """Probes all variants of all models. `tick` never waits; all of it runs on the event loop but the checks."""

    def __init__(
        self,
        models: Iterable[ModelService],
        config: HealthConfig,
        checks: DeviceChecks,
        lost: Callable[[str], None],
        threads: ThreadFactory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lost` is told why when a probe finds the device lost; `threads` makes a thread of that name."""
        self._config = config
        self._checks = checks
        self._lost = lost
        self._clock = clock
        self._probes = [
            _Probe(model, variant, threads(f"probe/{model.name}/{variant.name}"), Path(model.name, variant.name))
            for model in models
            for variant in model.variants
        ]

    def tick(self) -> None:
        """Starts what is due and judges what is late, ten times a second."""
        now = self._clock()
        for probe in self._probes:
            if probe.variant.loaded is None:
                continue
            if probe.started is not None:
                self._wait_for(probe, probe.started, now)
            hung = probe.variant.hung_since
            if hung is not None:
                self._hangs(probe, f"the engine hangs: a run has not come back for {now - hung:.0f} s")
            elif probe.started is None and now >= probe.due:
                self._start(probe, now)

    def hung_since(self, variant: Variant) -> float | None:
        """Since when a run or a probe of the variant has not come back, and no batch has either; None if it has."""
        if variant.hung_since is not None:
            return variant.hung_since
        started = next((probe.started for probe in self._probes if probe.variant is variant), None)
        late = started is not None and self._clock() - started > self._config.timeout
        return started if started is not None and late and variant.last_success < started else None

    def _start(self, probe: _Probe, now: float) -> None:
        loaded = probe.variant.loaded
        if loaded is None:
            return
        probe.started, probe.late = now, False
        switch = probe.variant.switch
        call = partial(attempt, self._checks, probe.folder, loaded.probe, lambda: switch.faults)
        probe.thread.submit(call, partial(self._back, probe))

    def _wait_for(self, probe: _Probe, started: float, now: float) -> None:
        away, timeout = now - started, self._config.timeout
        served = probe.variant.last_success > started
        if away > timeout and not probe.late:
            probe.late = True
            outcome = ProbeOutcome.BUSY if served else ProbeOutcome.FAILED
            self._judge(probe, outcome, f"no answer within {timeout:g} s")
        elif away > (_LONG * timeout if served else timeout + _RETRY * self._config.interval):
            self._hangs(probe, f"the engine hangs: a probe has not come back for {away:.0f} s")

    def _hangs(self, probe: _Probe, message: str) -> None:
        probe.variant.health.set("inference", LevelState.FAILING, message, self._clock())
        probe.due = 0.0  # at once when it comes back

    def _back(self, probe: _Probe, found: Attempt) -> None:
        started, probe.started = probe.started or self._clock(), None
        # What it cost the device: a probe that waited, behind a load or a hang, cost no more than one that did not.
        # Held against what was measured, not against what is seen: a slow minute must not space probes for long.
        probe.seconds = min(found.seconds, _WAITED * probe.variant.cost.measured_for(1))
        probe.model.cells.probe_seconds.inc(probe.seconds)
        if found.lost:
            self._lost(found.why)
            return
        if found.free is not None:
            model = probe.model
            model.cells.headroom.set(headroom(found.free, model.memory_taken, model.config.memory_budget))
        probe.model.probed(probe.variant, passed=not found.failed, within=self._config.interval)
        self._conclude(probe, found)
        self._pace(probe, started)

    def _conclude(self, probe: _Probe, found: Attempt) -> None:
        variant, now = probe.variant, self._clock()
        if found.failed == "device":
            variant.health.judge("device", ProbeOutcome.FAILED, found.why, now)
        elif found.monitoring:
            message = f"{found.device} answers; its monitoring does not ({found.monitoring})"
            variant.health.set("device", LevelState.DEGRADED, message, now)
        else:
            variant.health.judge("device", ProbeOutcome.PASSED, found.device, now)
        if found.failed:
            self._judge(probe, ProbeOutcome.FAILED, found.why)
        elif self._batches_fail(probe, now):
            why = f"{variant.failures} batches in a row failed, though a probe beside them passes: {variant.failure}"
            self._judge(probe, ProbeOutcome.FAILED, why)
        else:
            self._judge(probe, ProbeOutcome.PASSED, f"answered in {found.seconds * 1000:.2f} ms")

    def _batches_fail(self, probe: _Probe, now: float) -> bool:
        """Whether its batches say that it is ill: for longer each time that it was returned to and failed again."""
        variant = probe.variant
        if variant.failures < _FAILED_BATCHES:
            if variant.last_success > variant.last_failure:
                probe.returns = 0
            return False
        if variant.last_failure == probe.forgiven:
            return False
        if now - variant.last_failure < _MEMORY * 2 ** min(probe.returns, _DOUBLINGS) * self._config.interval:
            return True
        probe.forgiven = variant.last_failure
        probe.returns += 1
        return False

    def _judge(self, probe: _Probe, outcome: ProbeOutcome, message: str) -> None:
        probe.variant.health.judge("inference", outcome, message, self._clock())

    def _pace(self, probe: _Probe, started: float) -> None:
        """When the next one is due, such that all probes together take their share of time at most."""
        interval = self._config.interval
        pace = max(_PERIOD * interval, sum(each.seconds for each in self._probes) / PROBE_SHARE)
        wait = pace + probe.owed
        probe.owed = 0.0
        if probe.variant.health.states["inference"] is LevelState.MISSED:
            probe.owed = max(wait - _RETRY * interval, 0.0)
            wait = _RETRY * interval
        probe.due = started + wait
