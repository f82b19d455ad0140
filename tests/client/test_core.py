"""Throttle, budget and retries on a clock and a chance of the test's."""

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.client import Failure, Retry, RetryBudget, Throttle

OVERLOADED = Failure("overloaded", again=True, accepted=False)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def throttle(clock: Clock, chance: float = 0.5, **more: float) -> Throttle:
    return Throttle(clock=clock, chance=lambda: chance, **more)


# Throttle

steps = st.lists(st.tuples(st.sampled_from(["request", "accept", "refuse", "wait"]), st.floats(0, 300)), max_size=200)


def expected(events: list[tuple[float, int, int]], now: float, ratio: float) -> float:
    """The book's formula over all events of a window, which ends at a slot's edge, two seconds apart."""
    slot = int((now - 1000.0) / 2)
    kept = [event for event in events if int((event[0] - 1000.0) / 2) > slot - 60]
    requests, accepts = (sum(event[n] for event in kept) for n in (1, 2))
    return min(max(0, (requests - ratio * accepts) / (requests + 1)), 0.9)


@given(steps, st.floats(1, 5))
def test_the_probability_is_that_of_the_sre_book_over_what_the_window_holds(given_steps, ratio) -> None:
    clock, events, in_a_row = Clock(), [], 0
    made = throttle(clock, ratio=ratio)
    for step, seconds in given_steps:
        if step == "wait":
            clock.now += seconds
        elif step == "request":
            if not made.allows():
                events.append((clock.now, 1, 0))
        elif step == "refuse":
            made.refused()
            events.append((clock.now, 1, 0))
            in_a_row = 0
        else:
            made.accepted()
            events.append((clock.now, 1, 1))
            in_a_row += 1
            if in_a_row >= 10 and expected(events, clock.now, ratio) > 0:
                events.clear()
        assert made.probability == pytest.approx(expected(events, clock.now, ratio))


def test_a_server_that_takes_half_of_the_requests_is_never_throttled() -> None:
    made = throttle(Clock(), chance=0.0)
    for number in range(1000):
        assert made.allows()
        if number % 2 == 0:
            made.accepted()
        else:
            made.refused()


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_a_server_that_takes_none_gets_few_and_one_that_is_back_gets_all_at_once(seed) -> None:
    clock, dice = Clock(), random.Random(seed)
    made = Throttle(clock=clock, chance=dice.random)
    for _ in range(5000):  # ten a second, all of them refused
        if made.allows():
            made.refused()
        clock.now += 0.1
    assert made.probability == 0.9
    waited = 0
    while made.probability > 0:
        waited += 1
        if made.allows():
            made.accepted()
        clock.now += 0.1
    assert waited < 1000, "a tenth of the requests is sent, and ten of those are enough"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([4, 10]))
def test_under_an_overload_about_twice_of_what_is_taken_is_sent_and_all_soon_after(seed, load) -> None:
    clock, dice = Clock(), random.Random(seed)
    made = Throttle(clock=clock, chance=dice.random)
    sent = taken = 0
    for number in range(20_000):
        clock.now += 0.01
        if not made.allows():
            continue
        late = number > 5000
        sent += late
        # The server takes one request of each `load`, spread over what it is sent.
        if dice.random() < 1 / (load * (1 - made.probability)):
            taken += late
            made.accepted()
        else:
            made.refused()
    assert 1.5 < sent / taken < 3
    waited = 0
    while made.probability > 0:  # the overload is over
        waited += 1
        if made.allows():
            made.accepted()
    assert waited < 1000


@pytest.mark.parametrize("wrong", [{"ratio": 0.5}, {"window": 0}, {"most": 1.1}, {"ratio": float("nan")}])
def test_a_throttle_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="expected"):
        Throttle(**wrong)


# Budget


@given(st.lists(st.booleans(), max_size=500), st.floats(0, 1), st.floats(0, 20))
def test_retries_are_never_more_than_the_share_and_the_reserve(asks, share, reserve) -> None:
    budget = RetryBudget(share, reserve)
    requests = retries = 0
    for asked in asks:
        if asked:
            retries += budget.take()
        else:
            budget.pay_in()
            requests += 1
        assert retries <= reserve + share * requests + 1e-6


def test_ten_requests_pay_for_a_retry_exactly() -> None:
    budget = RetryBudget(0.1, reserve=0)
    for _ in range(9):
        budget.pay_in()
    assert not budget.take()
    budget.pay_in()
    assert budget.take()
    assert not budget.take()


def test_no_more_than_the_reserve_is_saved_up() -> None:
    budget = RetryBudget(0.1, reserve=5)
    for _ in range(10_000):
        budget.pay_in()
    assert [budget.take() for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize("wrong", [{"share": -0.1}, {"share": 2}, {"reserve": -1}])
def test_a_budget_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="expected"):
        RetryBudget(**wrong)


# Retry

failures = st.builds(Failure, st.just("x"), again=st.booleans(), accepted=st.booleans(), after=st.floats(0, 100))


@given(st.integers(1, 10), failures, st.floats(0, 100), st.floats(0, 1, exclude_max=True))
def test_a_retry_is_worth_it_allowed_in_time_and_not_before_the_server_said(attempt, failure, left, chance) -> None:
    policy = Retry()
    pause = policy.wait(attempt, failure, left, chance)
    if pause is None:
        backoff = 0.1 * 2 ** (attempt - 1)
        worth = failure.again and attempt < 3 and failure.after <= policy.longest
        assert not worth or failure.after + chance * backoff >= left
    else:
        assert failure.again
        assert attempt < 3
        assert failure.after <= pause < left
        assert pause <= failure.after + 0.1 * 2 ** (attempt - 1)


def test_the_jitter_is_full_and_doubles() -> None:
    policy = Retry(attempts=20, base=0.5, longest=4)
    assert [policy.wait(1, OVERLOADED, 100, chance) for chance in (0.0, 0.5, 1.0)] == [0.0, 0.25, 0.5]
    assert [policy.wait(attempt, OVERLOADED, 100, 1.0) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 4, 4]


def test_importing_it_needs_the_standard_library_alone() -> None:
    code = """
import sys
before = set(sys.modules)
import sloctl.client
found = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(found - sys.stdlib_module_names))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['sloctl']"


def test_requests_in_flight_say_nothing_of_the_server() -> None:
    made = throttle(Clock(), chance=0.0)
    assert all(made.allows() for _ in range(1000)), "a thousand at once, before the first answer"
    for _ in range(1000):
        made.accepted()
    assert made.probability == 0.0
