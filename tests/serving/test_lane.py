"""When batches are handed over, in simulated time: a device that works one batch after another."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import FULL, HANDING_OVER, TICK, Case, seconds

from sloctl.serving.errors import RequestError
from sloctl.serving.lane import LEAD, Job, Lane


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


def test_a_switch_waits_no_longer_than_what_is_in_hand_should_take(case):
    """On one device the new variant could not begin before; it is there when the time is up, late or not."""
    switching = case(2)
    switching.devices[0].slowdown = 20.0
    switching.request(0.0)
    switching.world.run(0.5e-3)
    cell = switching.model._control
    cell.write(replace(cell.read(), variant=1))
    switching.request(0.6e-3)
    switching.world.run()
    assert switching.devices[1].batches[0].given <= seconds(1)


def test_what_waits_at_a_switch_goes_to_the_free_variant_without_another_request(case):
    switching = case(2)
    switching.devices[0].slowdown = 1000.0
    for n in range(2 * FULL + 1):  # two batches in hand, and one request that waits
        switching.request(n * 1e-6)
    switching.world.run(1e-3)
    cell = switching.model._control
    cell.write(replace(cell.read(), variant=1))
    switching.last(0.2)
    assert switching.devices[1].batches[0].given <= 0.1, "the model's next tick"


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
        full.model.admit(full.world.now, 0, full.world.now + 2 * seconds(FULL) - 1e-3, full.world.now)
    full.model.admit(full.world.now, 0, full.world.now + 2 * seconds(FULL) + seconds(1), full.world.now)


def test_runs_that_overlap_teach_what_the_device_takes_not_what_they_waited(case):
    busy = case(2)
    busy.run(interval=0.2e-3, requests=1000)
    assert busy.model.variants[0].cost.correction == pytest.approx(1.0, abs=0.15)


def test_what_runs_on_another_device_tells_nothing_of_this_one(case):
    made = case(2)
    own, other = made.model.variants
    other.device = "gpu:1"
    calls: dict[str, Any] = {}
    for variant in (own, other):
        variant.thread.submit = lambda call, done, name=variant.name: calls.update({name: done})
    lane = Lane(lambda: None, lambda: made.world.now)
    for at, variant in enumerate((own, other), 1):
        made.world.now = float(at)
        lane.start(Job(variant, 1, 10.0, 20.0, lambda _: None), lambda: None)
    made.world.now = 9.0
    calls[other.name](None)
    assert lane.busy(own) == 2.0, "as began alone at 1"
    assert (lane.last(own), lane.last(other)) == (0.0, 9.0)


def test_a_call_behind_those_of_another_variant_has_time_to_wait_for_them(case):
    made = case(2)
    first, second = made.model.variants
    for variant in (first, second):
        variant.thread.submit = lambda call, done: None
    lane = Lane(lambda: None, lambda: made.world.now)
    lane.start(Job(first, 1, 3.0, 30.0, lambda _: None), lambda: None)
    lane.start(job := Job(second, 1, 0.1, 1.0, lambda _: None), lambda: None)
    assert job.limit == 4.0


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
