"""Batches of a model in simulated time: their sizes by deadline and class, and what is answered in time."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated import FULL, HANDING_OVER, Case, seconds

TIMES = 5  # a batch takes 11 ms with one row, and 30 ms with 16
ONE, ALL = TIMES * seconds(1), TIMES * seconds(FULL)
CAPACITY = FULL / (ALL + HANDING_OVER)  # requests/s
HIGH, NORMAL, LOW = range(3)


@pytest.fixture
def case(tmp_path: Path) -> Callable[[], Case]:
    return lambda: Case(tmp_path, scale={"fp32": TIMES, "int8": TIMES})


def rows(case: Case) -> list[int]:
    case.world.run()
    return [batch.rows for batch in case.devices[0].batches]


def waiting(case: Case, *deadlines: float, priority: int = NORMAL) -> None:
    """Requests that come while the first one runs; each has so much time from when the device is free."""
    for at, deadline in enumerate(deadlines):
        when = 1e-3 * (at + 1) / len(deadlines)
        case.request(when, priority=priority, deadline=HANDING_OVER + ONE - when + deadline)


@pytest.fixture
def busy(case: Callable[[], Case]) -> Case:
    made = case()
    made.request(0.0)
    return made


def test_with_time_enough_all_that_waits_is_one_batch(busy):
    waiting(busy, *[1.0] * FULL)
    assert rows(busy) == [1, FULL]


def test_a_request_with_little_time_is_not_put_into_a_large_batch(busy):
    enough_for_four = TIMES * seconds(4) + 0.7e-3
    waiting(busy, enough_for_four, *[1.0] * (FULL - 1))
    assert rows(busy) == [1, 4, FULL - 4]
    assert {each.outcome for each in busy.ended} == {"ok"}


def test_what_has_no_time_left_is_dropped_while_the_device_works_for_the_others(busy):
    waiting(busy, *[ONE / 2] * 3, *[1.0] * 5)
    assert rows(busy) == [1, 5]
    assert sorted(each.outcome for each in busy.ended) == ["deadline"] * 3 + ["ok"] * 6


@pytest.mark.parametrize("before", [0, 10])
def test_what_cannot_be_in_time_is_not_run_on_an_idle_device_however_many_came_alone_before_it(case, before):
    idle = case()
    for number in range(before):
        idle.request(float(number))
    idle.request(float(before), rows=FULL, deadline=TIMES * seconds(FULL // 2))
    assert rows(idle) == [1] * before
    assert [each.outcome for each in idle.ended] == ["ok"] * before + ["deadline"]


def test_a_lower_class_does_not_make_a_higher_one_late(busy):
    waiting(busy, *[1.0] * 10, priority=LOW)
    waiting(busy, TIMES * seconds(6) + 0.7e-3, 1.0, priority=HIGH)
    assert rows(busy) == [1, 6, 6], "two of the high class and four that it can take along, then the others"
    assert {each.outcome for each in busy.ended} == {"ok"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("load", [0.8, 2.0, 5.0])
def test_answers_are_in_time_and_the_device_is_idle_only_where_nothing_waits(case, load, seed):
    mixed, numbers = case(), random.Random(seed)
    now, deadlines = 0.0, {}
    while now < 4.0:
        now += numbers.expovariate(load * CAPACITY)
        deadlines[now] = numbers.choice([0.05, 0.1, 0.4])
        mixed.request(now, priority=numbers.choice([HIGH, NORMAL, LOW]), deadline=deadlines[now])
    mixed.last(5.0)
    answered = [each for each in mixed.ended if each.outcome == "ok"]
    late = [each for each in answered if each.seconds > deadlines[each.came] + 1e-9]
    assert len(late) <= 0.03 * len(answered), "the table knows nothing of handing over, but learns"
    assert len(answered) - len(late) >= 0.9 * min(load, 1) * CAPACITY * 4
    device = mixed.devices[0]
    if load > 1:
        assert device.idle <= 1.5 * HANDING_OVER * len(device.batches)
