"""A model on a device in simulated time, which works one batch after another; hours take seconds."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sloctl.admission.tenants import Tenants
from sloctl.admission.tiers import Wish
from sloctl.board import Board
from sloctl.config.daemon import DaemonConfig
from sloctl.config.runtime import Runtime
from sloctl.config.tenants import TenantsConfig
from sloctl.engines.base import Execution, Inputs, TensorSpec
from sloctl.engines.batch import joined
from sloctl.serving.cost import Cost
from sloctl.serving.errors import RequestError
from sloctl.serving.model import ModelService
from sloctl.serving.pending import Pending
from sloctl.serving.variant import Loaded

FULL = 16
HANDING_OVER = 0.5e-3  # seconds from the loop's decision until the device could begin
TICK = 1e-3
MODEL = {"variants": ["fp32", "int8"], "maxBatch": FULL, "maxQueue": 4096, "admission": {"limit": "off"}}
SIZES = (1, 2, 4, 8, FULL)  # measured batches
FIRST, PER_ROW = 2e-3, 0.25e-3


def seconds(rows: int) -> float:
    return FIRST + PER_ROW * rows


class World:
    """Simulated time: what is planned happens in order of its moment."""

    def __init__(self) -> None:
        self.now = 0.0
        self._plans: list[tuple[float, int, Any]] = []
        self._count = itertools.count()

    def at(self, when: float, call: Callable[[], object]) -> "Plan":
        plan = Plan(call)
        heapq.heappush(self._plans, (max(when, self.now), next(self._count), plan))
        return plan

    def run(self, until: float | None = None) -> None:
        while self._plans and (until is None or self._plans[0][0] <= until):
            self.now, _, plan = heapq.heappop(self._plans)
            plan.run()
        self.now = self.now if until is None else until

    # What a model asks of an event loop

    def call_soon(self, call: Callable[[], object]) -> "Plan":
        return self.at(self.now, call)

    def call_later(self, wait: float, call: Callable[[], object]) -> "Plan":
        return self.at(self.now + round(wait / TICK) * TICK, call)  # as uvloop counts


class Plan:
    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True

    def run(self) -> None:
        if not self._cancelled:
            self._call()


class Answer:
    """As much of a future as a request's end asks of one."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told

    def done(self) -> bool:
        return False

    def set_result(self, result: object) -> None:
        self._told("ok")

    def set_exception(self, error: RequestError) -> None:
        self._told(error.outcome)


@dataclass
class Batch:
    given: float
    rows: int
    start: float
    end: float
    ahead: int  # batches in hand when it was given


class Engine:
    """Twice its input; `rows` are those of the last batch."""

    inputs = (TensorSpec("x", "FP32", (-1, 4)),)
    outputs = (TensorSpec("y", "FP32", (-1, 4)),)
    max_batch, runtime, memory_bytes = FULL, "simulated", 0

    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.rows = 0

    def infer(self, *requests: Inputs) -> Execution:
        x = joined(requests)["x"]
        self.rows = len(x)
        return Execution({"y": 2 * x}, 0.0, 0.0)


@dataclass
class Chip:
    """What computes the batches of all variants, one at a time in the order in which they are given."""

    free: float = 0.0  # when


class Device:
    """Stands where a variant's threads are: gives its batches to a chip."""

    def __init__(self, world: World, engine: Engine, slowdown: float = 1.0, chip: Chip | None = None) -> None:
        self.world, self.engine, self.slowdown = world, engine, slowdown
        self.chip = chip or Chip()
        self.batches: list[Batch] = []

    def submit(self, call: Callable[[], Any], done: Callable[[Any], None]) -> None:
        result = call()
        rows = self.engine.rows
        now = self.world.now
        start = max(now + HANDING_OVER, self.chip.free)
        ahead = sum(batch.end > now for batch in self.batches)
        batch = Batch(now, rows, start, start + self.slowdown * seconds(rows), ahead)
        self.batches.append(batch)
        self.chip.free = batch.end
        result.seconds = batch.end - now
        self.world.at(batch.end, lambda: done(result))

    def grow(self, threads: int) -> None:
        pass

    def stop(self) -> None:
        pass

    @property
    def idle(self) -> float:
        return sum(b.start - a.end for a, b in itertools.pairwise(self.batches))


@dataclass(slots=True)
class Ended:
    """What became of a request: when it came, of which class and tenant it was, how it ended and after how long."""

    came: float
    priority: int
    outcome: str
    seconds: float
    tenant: str = ""
    precision: str = ""  # that it asked for


class Case:
    """A model on such a device, and requests at given moments; `waits` are seconds from arrival to answer.

    `model` is its configuration, `scale` what each variant's times are multiplied by, `targets` the objective,
    `tenants` the configuration of those, None where nobody is told apart.
    """

    def __init__(
        self,
        folder: Path,
        concurrency: int = 1,
        model: Mapping[str, Any] = MODEL,
        scale: Mapping[str, float] | None = None,
        targets: Mapping[str, float] | None = None,
        tenants: Mapping[str, Any] | None = None,
    ) -> None:
        self.world = World()
        self.ended: list[Ended] = []
        raw = {"apiVersion": "sloctl/v1", "kind": "Daemon", "tenants": tenants, "models": [{"name": "m", **model}]}
        self.tenants = Tenants(TenantsConfig.model_validate(tenants or {}))
        resolved = Runtime.resolve(DaemonConfig.model_validate(raw), folder / "sloctl.yaml", (), targets)
        clock = lambda: self.world.now  # noqa: E731
        self.model = ModelService(
            resolved.daemon.models[0],
            Board.create(resolved.topology),
            self.world,
            1.0,
            clock=clock,  # type: ignore[arg-type]
        )
        self.devices = []
        chip = Chip()
        for variant in self.model.variants:
            times = (scale or {}).get(variant.name, 1.0)
            engine = Engine(concurrency)
            variant.thread.stop()
            device = Device(self.world, engine, times, chip)
            variant.thread = device  # type: ignore[assignment]
            cost = Cost({rows: times * seconds(rows) for rows in SIZES})
            variant.take(Loaded(engine, cost, lambda: None, {}, None))
            self.devices.append(device)
        self.model.open()

    @property
    def waits(self) -> list[float]:
        """Seconds from arrival to answer, of those that were answered."""
        return [each.seconds for each in self.ended if each.outcome == "ok"]

    def request(
        self,
        when: float,
        rows: int = 1,
        priority: int = 0,
        deadline: float = 60.0,
        tenant: str = "default",
        precision: str = "",
    ) -> None:
        """Plans a request."""

        def end(outcome: str) -> None:
            self.ended.append(Ended(when, priority, outcome, self.world.now - when, tenant, precision))

        def answered(outcome: str) -> None:
            self.model.leave()
            end(outcome)

        def arrive() -> None:
            whose, wish = self.tenants.find(tenant, when), Wish(precision) if precision else None
            try:
                ticket = self.model.admit(when, priority, when + deadline, when, whose, wish)
            except RequestError as error:
                end(error.outcome)
                return
            inputs = {"x": np.ones((rows, 4), np.float32)}
            until, answer = when + deadline, Answer(answered)
            pending = Pending(inputs, rows, None, priority, until, when, ticket, answer, None, tenant=whose, wish=wish)
            self.model.enqueue(pending)

        self.world.at(when, arrive)

    def run(self, interval: float, requests: int, rows: int = 1) -> Device:
        """Requests at even intervals, each of which is answered."""
        for n in range(requests):
            self.request(n * interval, rows)
        self.world.run()
        assert Counter(each.outcome for each in self.ended) == {"ok": requests}, "each is answered"
        return self.devices[0]

    def last(self, until: float) -> None:
        """Lets time pass, with the model's own ticks."""
        for n in range(round((until - self.world.now) * 10)):
            self.world.at(self.world.now + n / 10, self.model.tick)
        self.world.run(until)
