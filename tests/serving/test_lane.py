"""When batches are handed over, in simulated time: a device that works one batch after another."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sloctl.board import Board
from sloctl.config.daemon import DaemonConfig
from sloctl.config.runtime import Runtime
from sloctl.engines.base import Execution, Inputs, TensorSpec
from sloctl.engines.batch import joined
from sloctl.serving.cost import Cost
from sloctl.serving.errors import RequestError
from sloctl.serving.lane import LEAD, Job, Lane
from sloctl.serving.model import ModelService
from sloctl.serving.pending import Pending
from sloctl.serving.variant import Loaded

FULL = 16
HANDING_OVER = 0.5e-3  # seconds from the loop's decision until the device could begin
TICK = 1e-3
MODEL = {"variants": ["fp32", "int8"], "maxBatch": FULL}
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

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told

    def done(self) -> bool:
        return False

    def set_result(self, result: object) -> None:
        self._told()


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


class Device:
    """Stands where a variant's threads are: takes batches in order, and computes one at a time."""

    def __init__(self, world: World, engine: Engine) -> None:
        self.world, self.engine = world, engine
        self.batches: list[Batch] = []
        self.slowdown = 1.0

    def submit(self, call: Callable[[], Any], done: Callable[[Any], None]) -> None:
        result = call()
        rows = self.engine.rows
        free = self.batches[-1].end if self.batches else 0.0
        now = self.world.now
        start = max(now + HANDING_OVER, free)
        ahead = sum(batch.end > now for batch in self.batches)
        batch = Batch(now, rows, start, start + self.slowdown * seconds(rows), ahead)
        self.batches.append(batch)
        result.seconds = batch.end - now
        self.world.at(batch.end, lambda: done(result))

    def grow(self, threads: int) -> None:
        pass

    def stop(self) -> None:
        pass

    @property
    def idle(self) -> float:
        return sum(b.start - a.end for a, b in itertools.pairwise(self.batches))


class Case:
    """A model on such a device, and requests at given moments; `waits` are seconds from arrival to answer."""

    def __init__(self, folder: Path, concurrency: int) -> None:
        self.world = World()
        raw = {"apiVersion": "sloctl/v1", "kind": "Daemon", "models": [{"name": "m", **MODEL}]}
        resolved = Runtime.resolve(DaemonConfig.model_validate(raw), folder / "sloctl.yaml", ())
        clock = lambda: self.world.now  # noqa: E731
        self.model = ModelService(
            resolved.daemon.models[0],
            Board.create(resolved.topology),
            self.world,
            1.0,
            clock=clock,  # type: ignore[arg-type]
        )
        self.devices = []
        for variant in self.model.variants:
            engine = Engine(concurrency)
            variant.thread.stop()
            device = Device(self.world, engine)
            variant.thread = device  # type: ignore[assignment]
            cost = Cost({rows: seconds(rows) for rows in (1, FULL)})
            variant.take(Loaded(engine, cost, lambda: None, {}, None))
            self.devices.append(device)
        self.model.open()
        self.waits: list[float] = []

    def request(self, when: float, rows: int = 1) -> None:
        def answered() -> None:
            self.model.leave()
            self.waits.append(self.world.now - when)

        def arrive() -> None:
            token = self.model.admit(when, 0, when + 60)
            inputs = {"x": np.ones((rows, 4), np.float32)}
            self.model.enqueue(Pending(inputs, rows, None, 0, when + 60, when, token, Answer(answered), None))

        self.world.at(when, arrive)

    def run(self, interval: float, requests: int, rows: int = 1) -> Device:
        for n in range(requests):
            self.request(n * interval, rows)
        self.world.run()
        assert len(self.waits) == requests, "each is answered"
        return self.devices[0]


@pytest.fixture
def case(tmp_path: Path) -> Callable[[int], Case]:
    return lambda concurrency: Case(tmp_path, concurrency)


def test_with_full_batches_the_device_waits_for_nobody(case):
    one, two = (case(n).run(interval=0.2e-3, requests=1000) for n in (1, 2))
    assert one.idle > 50 * HANDING_OVER, "one at a time, it waits at every batch"
    assert two.idle == 0
    assert max(batch.ahead for batch in two.batches) == 1, "no more in hand than the engine takes"


def test_below_saturation_a_batch_goes_beside_another_only_at_its_end(case):
    device = case(2).run(interval=0.5e-3, requests=1000)
    beside = [(b, a) for a, b in itertools.pairwise(device.batches) if b.ahead and b.rows < FULL]
    assert len(beside) > 50
    for batch, before in beside:
        assert before.end - batch.given <= LEAD + TICK, "what arrived until then is in it"
        assert before.end - batch.given >= HANDING_OVER - 1e-9, "and it came in time"


def test_batches_stay_nearly_as_large_and_answers_come_sooner(case):
    alone, beside = case(1), case(2)
    sizes = [np.mean([b.rows for b in each.run(0.5e-3, 1000).batches]) for each in (alone, beside)]
    assert sizes[1] > 0.8 * sizes[0]
    assert np.mean(beside.waits) < np.mean(alone.waits)
    assert np.percentile(beside.waits, 99) < np.percentile(alone.waits, 99)


def test_an_idle_engine_is_given_what_there_is_at_once(case):
    device = case(2).run(interval=0.1, requests=5)
    assert [batch.rows for batch in device.batches] == [1] * 5
    assert [batch.given for batch in device.batches] == pytest.approx([0.1 * n for n in range(5)])


def test_when_a_run_takes_longer_than_predicted_the_next_goes_beside_it(case):
    late = case(2)
    late.devices[0].slowdown = 20.0
    late.request(0.0)
    late.request(0.5e-3)
    late.world.run()
    first, second = late.devices[0].batches
    assert second.given < first.end / 5


def test_a_switch_waits_for_nothing(case):
    switching = case(2)
    switching.devices[0].slowdown = 20.0
    switching.request(0.0)
    switching.world.run(0.5e-3)
    cell = switching.model._control
    cell.write(replace(cell.read(), variant=1))
    switching.request(0.6e-3)
    switching.world.run()
    assert switching.devices[1].batches[0].given == pytest.approx(0.6e-3)


def test_with_one_at_a_time_a_switch_waits_for_the_processor(case):
    switching = case(1)
    switching.request(0.0)
    switching.world.run(0.5e-3)
    cell = switching.model._control
    cell.write(replace(cell.read(), variant=1))
    switching.request(0.6e-3)
    switching.world.run()
    assert switching.devices[1].batches[0].given == pytest.approx(switching.devices[0].batches[0].end)


def test_admission_counts_what_is_in_flight(case):
    full = case(2)
    for _ in range(2 * FULL):
        full.request(0.0)
    full.world.run(1e-3)
    assert full.model._lane.remaining() == pytest.approx(2 * seconds(FULL) - 1e-3)
    with pytest.raises(RequestError, match="deadline"):
        full.model.admit(full.world.now, 0, full.world.now + 2 * seconds(FULL) - 1e-3)
    full.model.admit(full.world.now, 0, full.world.now + 2 * seconds(FULL) + seconds(1))


def test_runs_that_overlap_teach_what_the_device_takes_not_what_they_waited(case):
    busy = case(2)
    busy.run(interval=0.2e-3, requests=1000)
    assert busy.model.variants[0].cost.correction == pytest.approx(1.0, abs=0.15)


def test_each_call_that_hangs_is_given_up_and_the_variant_is_back_when_all_have_come_back(case):
    hanging = case(2)
    variant = hanging.model.variants[0]
    calls: list[Any] = []
    variant.thread.submit = lambda call, done: calls.append(done)
    ended: list[Any] = []
    lane = Lane(lambda: None, lambda: hanging.world.now)
    for started in (0.0, 1.0):
        hanging.world.now = started
        lane.start(Job(variant, 1, 0.0, 2.0, ended.append), lambda: None)
    hanging.world.now = 2.5
    lane.watch()
    assert (ended, variant.hung_since, len(lane.jobs)) == ([None], 0.0, 1)
    hanging.world.now = 3.5
    lane.watch()
    assert (ended, variant.hung_since, lane.jobs) == ([None, None], 0.0, [])
    calls[0]("late")
    assert variant.hung_since == 1.0
    calls[1]("later")
    assert (ended, variant.hung_since) == ([None, None], None)
