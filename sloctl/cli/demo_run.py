"""One run of the demo: plays the schedule against a daemon, watches it, and breaks its engines on time."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sloctl.cli import demo_plan as p
from sloctl.cli.demo_daemon import Daemon, DemoError, started
from sloctl.load.driver import Send, drive
from sloctl.load.results import Fate, Record
from sloctl.load.schedule import Schedule
from sloctl.load.v2 import bodies, sender

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """The daemon's own view at a moment, in seconds after the start."""

    at: float
    phase: str
    ready: bool
    variant: str
    breaker: str
    admit: dict[str, float]
    offered: float
    served: float
    p99: float | None


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision of the daemon, with the second it was taken at; or, as action `breaker`, what the breaker did.

    The breaker acts by itself in the data plane, so its moves are no decisions, and are known by the next look.
    """

    at: float
    rule: str
    action: str
    before: str
    after: str
    reason: str


@dataclass(slots=True)
class Run:
    """All that one run gave."""

    controller: bool
    scenario: p.Scenario
    schedule: Schedule
    capacities: dict[str, float]
    accuracies: dict[str, float | None]
    began: float = 0.0  # Unix time
    records: list[Record] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    decisions: list[Decided] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class View:
    """What a screen shows: the run so far, the moment, and the daemon's last status (None: it did not answer)."""

    run: Run
    at: float
    status: Status | None
    fates: Counter[Fate]  # of this phase's requests
    recent: tuple[Sample, ...]
    decisions: tuple[Decided, ...]


def model_of(status: Status) -> dict[str, Any]:
    """The demo's model in a status."""
    return next(model for model in status["models"] if model["name"] == p.MODEL)


def decided(record: dict[str, Any], began: float) -> Decided:
    """A decision as the API tells it, on the run's clock."""
    at = datetime.fromisoformat(record["at"]).timestamp() - began
    return Decided(at, record["rule"], record["action"], record["before"], record["after"], record["reason"])


class Watch:
    """Looks at the daemon while the schedule plays, and shows what it sees."""

    def __init__(self, run: Run, daemon: Daemon, show: Callable[[View], None]) -> None:
        self._run = run
        self._daemon = daemon
        self._show = show
        self._fates: dict[str, Counter[Fate]] = {phase.name: Counter() for phase in run.schedule.phases}
        self._recent: deque[Sample] = deque(maxlen=240)
        self._decisions: dict[int, Decided] = {}
        self._moves: list[Decided] = []
        self._start = time.monotonic()

    def observe(self, record: Record) -> None:
        """Takes the end of a request."""
        self._run.records.append(record)
        self._fates[record.phase][record.fate(self._run.scenario.objective)] += 1

    async def look(self) -> None:
        """Looks for ever."""
        while True:
            await self.once()
            await asyncio.sleep(p.POLL)

    async def once(self) -> None:
        """Asks the daemon once, and shows the answer."""
        status = await self._daemon.status()
        at = time.monotonic() - self._start
        phase = self._run.schedule.phase_at(at).name
        if status is not None:
            sample = _sample(at, phase, status)
            self._moves += _moves(self._run.samples[-1:], sample)
            self._run.samples.append(sample)
            self._recent.append(sample)
            for record in status["decisions"]:
                self._decisions.setdefault(record["id"], decided(record, self._run.began))
        self._show(View(self._run, at, status, self._fates[phase], tuple(self._recent), tuple(self.decisions)))

    @property
    def decisions(self) -> list[Decided]:
        """What was decided so far, and how the breaker moved, in order of time."""
        return sorted([*self._decisions.values(), *self._moves], key=lambda decision: decision.at)


def _moves(before: list[Sample], now: Sample) -> list[Decided]:
    changed = before and before[0].breaker != now.breaker
    return [Decided(now.at, "data plane", "breaker", before[0].breaker, now.breaker, "seen")] if changed else []


def _sample(at: float, phase: str, status: Status) -> Sample:
    model = model_of(status)
    return Sample(
        at=at,
        phase=phase,
        ready=status["ready"],
        variant=model["variant"],
        breaker=model["breaker"],
        admit=model["admit"],
        offered=model["offeredRate"],
        served=model["servedRate"],
        p99=model["latency"]["p99"],
    )


async def measure(
    config: Path,
    images: NDArray[np.float32],
    plan: Callable[[p.Scenario, dict[str, float]], Schedule],
    show: Callable[[View], None],
    *,
    controller: bool,
) -> Run:
    """Starts the daemon of a run's folder, plays what `plan` makes of its measured capacities, and stops it.

    `images` are [N, 1, 64, 64], sent one by one. Raises ConfigError and DemoError.
    """
    scenario = p.Scenario.read(config)
    requests = bodies("image", [image[None] for image in images], scenario.priorities, scenario.deadline)
    async with started(config) as daemon, sender(daemon.serving, p.MODEL, requests, scenario.deadline) as send:
        status = await daemon.status()
        if status is None:
            raise DemoError("the daemon went away after it had started")
        variants = {variant["name"]: variant for variant in model_of(status)["variants"]}
        capacities = {name: variants[name]["capacity"] for name in scenario.variants}
        accuracies = {name: variants[name]["accuracy"] for name in scenario.variants}
        run = Run(controller, scenario, plan(scenario, capacities), capacities, accuracies)
        await play(run, daemon, send, show)
    return run


async def play(run: Run, daemon: Daemon, send: Send, show: Callable[[View], None]) -> None:
    """Plays the run's schedule from now on, and fills in what came of it."""
    run.began = time.time()
    watch = Watch(run, daemon, show)
    helpers = [asyncio.create_task(watch.look()), asyncio.create_task(_break(run.schedule, daemon))]
    try:
        await drive(run.schedule, send, watch.observe)
    finally:
        for helper in helpers:
            helper.cancel()
        ended = await asyncio.gather(*helpers, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome
    await watch.once()
    run.decisions = watch.decisions


async def _break(schedule: Schedule, daemon: Daemon) -> None:
    """Breaks the engines in the middle of the phase of faults, if there is one."""
    if all(phase.name != p.FAULTS for phase in schedule.phases):
        return
    start, _ = schedule.span(p.FAULTS)
    await asyncio.sleep(start + p.FAULTS_AFTER)
    await daemon.inject(p.MODEL, "error")
    await asyncio.sleep(p.FAULTS_FOR)
    await daemon.inject(p.MODEL)
