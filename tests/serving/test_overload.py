"""The data plane under overload, in simulated time: what is answered within the objective, without a control plane."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import FULL, HANDING_OVER, Case, Ended, seconds

TIMES = 5  # a device so much slower, for fewer requests
CAPACITY = FULL / (TIMES * seconds(FULL) + HANDING_OVER)  # requests/s
OBJECTIVE = 0.25
SCALE = {"fp32": TIMES, "int8": TIMES}
MODEL: dict[str, Any] = {"variants": ["fp32", "int8"], "maxBatch": FULL, "breaker": {"enabled": False}}
HIGH, NORMAL, LOW = range(3)
SEEDS = range(3)
GOALS = {2: 0.97, 4: 0.95, 10: 0.90}  # of the capacity, by the load over it


@pytest.fixture
def case(tmp_path: Path) -> Callable[..., Case]:
    def make(**changes: Any) -> Case:
        changes.setdefault("targets", {"m": OBJECTIVE})
        changes.setdefault("scale", SCALE)
        return Case(tmp_path, model=MODEL | changes.pop("model", {}), **changes)

    return make


def arrive(case: Case, rate: float, start: float, end: float, seed: int = 0, priority: int = 1) -> None:
    numbers = np.random.default_rng((seed, priority, round(start * 1000)))
    for when in np.sort(numbers.uniform(start, end, numbers.poisson(rate * (end - start)))):
        case.request(float(when), priority=priority)


def good(ended: Iterable[Ended], start: float, end: float, priority: int | None = None) -> float:
    """Requests/s that came within `start` and `end` and were answered within the objective."""
    chosen = [each for each in ended if start <= each.came < end and priority in (None, each.priority)]
    return sum(each.outcome == "ok" and each.seconds <= OBJECTIVE for each in chosen) / (end - start)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("limit", ["gradient", "aimd", "off"])
@pytest.mark.parametrize("times", GOALS)
def test_whatever_is_offered_the_device_works_for_answers_in_time(case, times, limit, seed):
    busy = case(model={"admission": {"limit": limit}})
    arrive(busy, times * CAPACITY, 0.0, 4.0, seed)
    busy.last(5.0)
    assert good(busy.ended, 1.0, 4.0) >= GOALS[times] * CAPACITY
    late = [each for each in busy.ended if each.outcome == "ok" and each.seconds > OBJECTIVE and each.came > 1.0]
    assert len(late) <= 0.02 * len(busy.waits)
    assert {each.outcome for each in busy.ended} == {"ok", "overloaded"}
    assert busy.model.inflight == 0


def test_who_took_longer_than_the_objective_to_send_it_is_served_on_an_idle_device(case):
    idle = case().model
    ticket = idle.admit(now=10.0, priority=NORMAL, deadline=60.0, started=10.0 - 2 * OBJECTIVE)
    assert ticket.until == 10.0 + OBJECTIVE
    assert idle.admit(now=10.0, priority=NORMAL, deadline=60.0, started=9.99).until == 9.99 + OBJECTIVE


@pytest.mark.parametrize("seed", SEEDS)
def test_below_capacity_nothing_is_refused(case, seed):
    calm = case()
    arrive(calm, 0.7 * CAPACITY, 0.0, 10.0, seed)
    calm.last(11.0)
    assert {each.outcome for each in calm.ended} == {"ok"}


def test_without_an_objective_the_queue_would_be_served_late(case):
    plain = case(targets={}, model={"maxQueue": 4096, "admission": {"limit": "off"}})
    arrive(plain, 2 * CAPACITY, 0.0, 4.0)
    plain.last(6.0)
    assert good(plain.ended, 1.0, 4.0) < 0.05 * CAPACITY, "the objective is what makes the difference"


@pytest.mark.parametrize("limit", ["gradient", "aimd"])
def test_without_an_objective_the_limit_finds_a_short_queue(case, limit):
    bounded = case(targets={}, model={"maxQueue": 4096, "admission": {"limit": limit}})
    arrive(bounded, 4 * CAPACITY, 0.0, 6.0)
    bounded.last(8.0)
    settled = [each.seconds for each in bounded.ended if each.outcome == "ok" and each.came > 2.0]
    assert len(settled) >= 0.97 * CAPACITY * 4, "the device stays busy"
    assert np.quantile(settled, 0.99) < 2 * 1.5 * 2 * TIMES * seconds(FULL), "twice what it aims at"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_twelve_fold_spike_of_low_priority_does_not_touch_the_high_one(case, seed):
    spike = case()
    arrive(spike, 0.3 * CAPACITY, 0.0, 6.0, seed, HIGH)
    arrive(spike, 0.3 * CAPACITY, 0.0, 6.0, seed, LOW)
    arrive(spike, 11 * 0.3 * CAPACITY, 2.0, 5.0, seed, LOW)
    spike.last(7.0)
    offered = sum(2.0 <= each.came < 5.0 and each.priority == HIGH for each in spike.ended) / 3
    assert good(spike.ended, 2.0, 5.0, HIGH) >= 0.994 * offered
    assert good(spike.ended, 2.0, 5.0) >= 0.95 * CAPACITY, "what is left goes to the low one"


def test_a_full_queue_gives_up_the_newest_of_the_lowest_class(case):
    small = case(model={"maxQueue": 4, "admission": {"limit": "off"}})
    small.request(0.0, priority=NORMAL)  # runs
    for n, priority in enumerate((LOW, NORMAL, LOW, LOW, HIGH, NORMAL, NORMAL)):
        small.request(1e-3 + n * 1e-5, priority=priority)
    small.last(1.0)
    ended = {round((each.came - 1e-3) * 1e5): each.outcome for each in small.ended if each.came}
    assert ended == {
        0: "overloaded",  # the oldest of the low ones, for the last normal one
        1: "ok",
        2: "overloaded",
        3: "overloaded",  # the newest, first
        4: "ok",
        5: "ok",
        6: "ok",
    }


def test_the_capacity_of_the_variant_that_serves_counts_and_a_switch_fails_nothing(case):
    switched = case(scale={"fp32": TIMES, "int8": 0.4 * TIMES})
    arrive(switched, 2 * CAPACITY, 0.0, 6.0)

    def switch() -> None:
        cell = switched.model._control
        cell.write(replace(cell.read(), variant=1))

    switched.world.at(3.0, switch)
    switched.last(7.0)
    assert good(switched.ended, 1.0, 3.0) == pytest.approx(CAPACITY, rel=0.05)
    assert good(switched.ended, 3.2, 6.0) >= 0.97 * 2 * CAPACITY
    assert {each.outcome for each in switched.ended} == {"ok", "overloaded"}


def test_switches_under_load_refuse_no_more_than_arrivals_that_bunch(case):
    """Where one request fills a batch some find no room at 0.75 of the capacity; half the time a fast one serves."""
    one = TIMES * seconds(1)

    def refused(seed: int, switches: int) -> int:
        busy = case(
            concurrency=2,
            model={"maxBatch": 1},
            scale={"fp32": TIMES, "int8": TIMES / 6},
            targets={"m": 8.6 * one},
        )
        for priority, share in enumerate((0.2, 0.5, 0.3)):
            arrive(busy, 0.75 * share / one, 0.0, 40.0, seed, priority)
        for number in range(1, switches + 1):
            busy.world.at(
                number * 40.0 / (switches + 1),
                lambda to=number % 2: busy.model._control.write(replace(busy.model._control.read(), variant=to)),
            )
        busy.last(42.0)
        return sum(each.outcome != "ok" for each in busy.ended)

    without, switched = (sum(refused(seed, switches) for seed in range(4)) for switches in (0, 19))
    assert 0 < switched < without


def test_a_device_that_slows_down_is_believed(case):
    throttled = case()
    throttled.world.at(2.0, lambda: setattr(throttled.devices[0], "slowdown", 2 * TIMES))
    arrive(throttled, 2 * CAPACITY, 0.0, 6.0)
    throttled.last(7.0)
    assert good(throttled.ended, 3.0, 6.0) >= 0.9 * CAPACITY / 2


def test_goodput_is_back_when_the_load_is(case):
    storm = case()
    arrive(storm, 0.7 * CAPACITY, 0.0, 10.0, 1)
    arrive(storm, 4 * CAPACITY, 2.0, 6.0, 2, LOW)
    storm.last(11.0)
    assert good(storm.ended, 6.1, 10.0) == pytest.approx(0.7 * CAPACITY, rel=0.1)
    assert not [each for each in storm.ended if each.came > 6.1 and each.outcome != "ok"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_reserved_share_is_served_while_a_higher_class_wants_all(case, seed):
    flooded = {
        share: case(model={"admission": {"limit": limit, "reserved": {"low": share}}})
        for share, limit in ((0.0, "gradient"), (0.2, "gradient"))
    }
    for each in flooded.values():
        arrive(each, 3 * CAPACITY, 0.0, 6.0, seed, HIGH)
        arrive(each, CAPACITY, 0.0, 6.0, seed, LOW)
        each.last(7.0)
    assert good(flooded[0.0].ended, 1.0, 6.0, LOW) <= 0.03 * CAPACITY, "without one it starves"
    assert good(flooded[0.2].ended, 1.0, 6.0, LOW) >= 0.9 * 0.2 * CAPACITY
    assert good(flooded[0.2].ended, 1.0, 6.0, HIGH) >= 0.9 * 0.8 * CAPACITY
    assert good(flooded[0.2].ended, 1.0, 6.0) >= 0.95 * CAPACITY
