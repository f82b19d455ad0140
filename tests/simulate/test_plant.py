"""The queueing model: nothing is lost, its law is a law, and it agrees with a queue played request by request."""

import math
import random
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.simulate.plant import Limits, Plant, Variant

FAST, SLOW = Variant("fast", 0.9, {1: 0.002, 8: 0.008}), Variant("slow", 0.99, {1: 0.005, 8: 0.02})
LIMITS = Limits(deadline=1.0, max_queue=300)
LOADS = st.tuples(st.floats(0, 3000), st.floats(0, 3000))
TICK = st.tuples(LOADS, st.sampled_from(["fast", "slow"]), st.tuples(*[st.floats(0, 1)] * 2), st.booleans())


@settings(deadline=None)
@given(st.lists(TICK, min_size=1, max_size=40), st.sampled_from([0.25, 1.0, 5.0]), st.floats(0, 1))
def test_every_request_ends_in_one_outcome_or_waits(course, dt, errors) -> None:
    plant, offered, ended = Plant([SLOW, FAST], LIMITS), 0.0, 0.0
    for loads, variant, admit, open_ in course:
        flow = plant.step(dt, loads, variant, admit, open_=open_, errors=errors)
        offered += sum(loads)
        ended += sum(sum(counts) for counts in flow.outcomes.values())
        assert offered == pytest.approx(ended + plant.queue, rel=1e-6, abs=1e-3)
        assert 0 <= plant.queue <= LIMITS.max_queue + 1e-6
        assert all(count >= -1e-6 for counts in flow.outcomes.values() for count in counts)
        lates = [flow.later(t) for t in (0.0, 0.001, 0.01, 0.1, 1.0, 10.0)]
        assert all(0 <= late <= 1 for late in lates)
        assert lates == sorted(lates, reverse=True)


def test_what_is_admitted_is_answered_within_the_deadline() -> None:
    plant = Plant([SLOW], LIMITS)
    for _ in range(100):
        flow = plant.step(0.25, (5000.0, 0.0), "slow", (1.0, 1.0), open_=False, errors=0.0)
    assert flow.later(LIMITS.deadline + 2 * SLOW.batch(1e9)[1]) == 0.0
    assert sum(flow.outcomes["ok"]) == pytest.approx(0.25 * SLOW.capacity)


@pytest.mark.parametrize("times", [2.0, 4.0, 10.0])
def test_under_overload_what_is_let_in_keeps_to_the_objective(times: float) -> None:
    """As in the data plane, whose admission predicts the wait: it works for answers in time."""
    plant = Plant([SLOW], Limits(1.0, 300, target=0.1))
    for _ in range(40):
        flow = plant.step(0.25, (times * SLOW.capacity * 0.25,), "slow", (1.0,), open_=False, errors=0.0)
    assert flow.later(0.1) == 0.0
    assert flow.answered == pytest.approx(0.25 * SLOW.capacity)
    assert sum(flow.outcomes["overloaded"]) == pytest.approx((times - 1) * 0.25 * SLOW.capacity)


@pytest.mark.parametrize(
    ("rows", "batch", "seconds"),
    [(1.0, 1, 0.005), (1.3, 1, 0.005), (2.0, 8, 0.02), (8.0, 8, 0.02), (16.0, 16, 0.04)],
)
def test_a_batch_holds_a_request_however_few_there_are(rows: float, batch: float, seconds: float) -> None:
    """With slow's table for 1 and 8 rows; what is larger takes as long as at the measured peak."""
    plant = Plant([SLOW], LIMITS)
    plant.rows, plant.slowdown = rows, 2.0
    flow = plant.step(1.0, (1.0,), "slow", (1.0,), open_=False, errors=0.0)
    assert (flow.batch, flow.service) == (batch, pytest.approx(2 * seconds))
    assert flow.later(0.99 * flow.service) == 1.0


@pytest.mark.parametrize("busy", [0.7, 0.9])
def test_waits_are_near_those_of_a_queue_played_request_by_request(busy: float) -> None:
    """One server, Poisson arrivals, 10 ms each: the model's tail against 200,000 requests."""
    served = Variant("v", 1.0, {1: 0.01})
    plant = Plant([served], Limits(100.0, 10_000))
    flow = plant.step(1.0, (busy * 100, 0.0), "v", (1.0, 1.0), open_=False, errors=0.0)
    numbers, now, free, waits = random.Random(1), 0.0, 0.0, []
    for _ in range(200_000):
        now -= math.log(1 - numbers.random()) / (busy * 100)
        waits.append(max(free - now, 0.0))
        free = max(free, now) + 0.01
    waits.sort()
    for threshold in (0.02, 0.05, 0.1):
        played = 1 - bisect_left(waits, threshold) / len(waits)
        told = flow.later(threshold, queued=True)
        assert played - 0.005 <= told <= 2 * played + 0.005  # on the safe side, and not far off
