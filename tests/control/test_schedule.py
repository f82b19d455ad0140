"""Periodic calls on an injected clock: when they are made, whatever they take and however they end."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from sloctl.control.schedule import Schedule, repeat


class Clock:
    """Time that passes in waits and calls only; it ends after so many calls."""

    def __init__(self, costs):
        self.time, self.costs, self.calls = 100.0, list(costs), []

    def now(self):
        return self.time

    def until(self, moment):
        self.time = max(self.time, moment)
        return bool(self.costs)

    def call(self):
        self.calls.append(self.time)
        self.time += self.costs.pop(0)


@given(st.lists(st.floats(0, 5), min_size=1, max_size=20), st.floats(0.05, 2))
def test_a_late_call_is_made_at_once_and_missed_ones_are_not_made_up_for(costs, seconds):
    clock = Clock(costs)
    repeat(clock.call, seconds, clock)
    assert len(clock.calls) == len(costs)
    assert clock.calls[0] == 100.0 + seconds
    due = clock.calls[0]
    for began, cost, following in zip(clock.calls, costs, clock.calls[1:], strict=False):
        due = max(due + seconds, began + cost)
        assert following == due


def test_a_call_that_fails_costs_only_itself():
    clock = Clock([0.0, 0.0, 0.0])

    def call():
        clock.call()
        if len(clock.calls) == 2:
            raise OSError("the disk is full")

    repeat(call, 1.0, clock)
    assert clock.calls == [101.0, 102.0, 103.0]


def test_a_schedule_repeats_in_threads_until_it_is_shut_down():
    schedule, came, before = Schedule(), threading.Semaphore(0), threading.active_count()
    schedule.add(came.release, 0.001)
    schedule.start()
    assert all(came.acquire(timeout=10) for _ in range(3))
    schedule.shutdown()
    assert threading.active_count() == before
