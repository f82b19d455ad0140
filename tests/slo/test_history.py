"""The history against a recount of every event, over random ticks, gaps, restarts and steps back of the clock."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.slo.history import History, Row
from sloctl.slo.rings import rings_for

LONGEST = 2 * 86400.0
WINDOWS = (0.5, 1, 2, 10, 60, 599, 600, 601, 3600, 7200, 7205, 21600, 86400, 100_000, LONGEST)
BEGIN = 1_000_003.25


class Recount:
    """Keeps every event with its time, and counts them anew for each window."""

    def __init__(self, slos: int) -> None:
        self.events: list[tuple[float, list[int], list[int]]] = []
        self.slos = slos

    def window(self, now: float, seconds: float) -> tuple[list[int], list[int]]:
        reach = next(ring for ring in rings_for(LONGEST, 0) if seconds <= ring.reach)
        start = math.floor((now - seconds) / reach.resolution) * reach.resolution
        inside = [(good, total) for at, good, total in self.events if at > start]
        sums = [[sum(e[side][slo] for e in inside) for slo in range(self.slos)] for side in (0, 1)]
        return sums[0], sums[1]


class Store:
    """Keeps rows as the daemon's database does."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int, int], tuple[int, int]] = {}

    def save(self, history: History) -> None:
        self.rows.update({row[:3]: row[3:] for row in history.unsaved()})
        oldest = history.oldest()
        self.rows = {k: v for k, v in self.rows.items() if k[2] >= oldest.get(k[1], 0)}

    def load(self) -> list[Row]:
        return [(*key, *value) for key, value in self.rows.items()]


def feed(history: History, now: float, good: list[int], total: list[int]) -> None:
    history.advance(now, np.array(good), np.array(total))


def assert_same(history: History, recount: Recount) -> None:
    for seconds in WINDOWS:
        good, total = history.window(seconds)
        assert (good.tolist(), total.tolist()) == recount.window(history.now, seconds), f"window {seconds} s"


steps = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from([0.0, 0.25, 0.5, 1.0, 7.75, 60.0, 300.0, 3600.0]),
            st.integers(-20, 40).map(lambda quarters: quarters / 4),
            st.integers(0, 3 * 86400).map(float),
            st.floats(-5, 3 * 86400),
        ),
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=2),
        st.booleans(),  # restart after this step
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(steps, st.integers(0, 16000).map(lambda quarters: quarters / 4))
def test_every_window_agrees_with_a_recount_of_all_events(
    ticks: list[tuple[float, list[tuple[int, int]], bool]], shift: float
) -> None:
    names, recount, store = ["a", "b"], Recount(2), Store()
    history = History(names, LONGEST)
    clock = latest = BEGIN + shift
    restarted = False
    good, total = [7, 0], [9, 0]  # what was counted before the history began is not in any window
    feed(history, clock, good, total)
    for delta, counts, restart in ticks:
        clock = latest + (max(delta, 0) if restarted else delta)  # a restart goes on where the axis was, or later
        restarted = restart
        latest = max(latest, clock)
        events = [[g for g, _ in counts], [g + b for g, b in counts]]
        good = [have + new for have, new in zip(good, events[0], strict=True)]
        total = [have + new for have, new in zip(total, events[1], strict=True)]
        feed(history, clock, good, total)
        recount.events.append((latest, events[0], events[1]))
        assert_same(history, recount)
        store.save(history)
        if restart:
            history = History(names, LONGEST)
            history.restore(store.load())


def test_a_restart_at_the_very_moment_of_the_first_events_keeps_them() -> None:
    store = Store()
    before = History(["a"], 60)
    feed(before, 5, [0], [0])
    feed(before, 5, [0], [1])
    store.save(before)
    after = History(["a"], 60)
    after.restore(store.load())
    feed(after, 5, [0], [1])
    assert [side.tolist() for side in after.window(1)] == [[0], [1]]


def test_memory_does_not_grow_with_time() -> None:
    history = History(["a"], 30 * 86400.0)
    before = sum(ring.data.nbytes for ring in history.rings)
    for day in range(60):
        feed(history, BEGIN + day * 86400, [day], [day])
    assert sum(ring.data.nbytes for ring in history.rings) == before < 80_000


def test_rings_are_only_as_coarse_as_the_longest_window_needs() -> None:
    assert [ring.resolution for ring in rings_for(60, 1)] == [1]
    assert [ring.resolution for ring in rings_for(3600, 1)] == [1, 10]
    assert [ring.resolution for ring in rings_for(30 * 86400, 1)] == [1, 10, 60, 300, 3600]
    for short, long in pairwise(rings_for(30 * 86400, 1)):
        assert short.reach >= long.resolution, "a slot must be closed while a finer ring still holds it"


def test_a_counter_that_begins_anew_counts_no_negative_events() -> None:
    history = History(["a"], 3600)
    feed(history, 100, [0], [0])
    feed(history, 101, [90], [100])
    feed(history, 102, [0], [0])
    feed(history, 103, [5], [10])
    assert [side.tolist() for side in history.window(60)] == [[95], [110]]


def test_an_slo_that_is_redefined_does_not_gain_good_events_without_events() -> None:
    history = History(["a"], 3600)
    feed(history, 100, [0], [0])
    feed(history, 101, [10], [100])
    feed(history, 102, [99], [100])  # a looser threshold: 89 good events out of nothing
    assert [side.tolist() for side in history.window(60)] == [[10], [100]]


def test_a_gap_holds_no_events_and_what_came_in_it_counts_at_its_end() -> None:
    store = Store()
    before = History(["a"], 7200)
    feed(before, 1000, [0], [0])
    feed(before, 1010, [10], [10])
    store.save(before)
    after = History(["a"], 7200)
    after.restore(store.load())
    feed(after, 2000, [10], [14])
    assert [side.tolist() for side in after.window(60)] == [[0], [4]]
    assert [side.tolist() for side in after.window(3600)] == [[10], [14]]


def test_slos_may_come_and_go_between_restarts() -> None:
    store = Store()
    before = History(["gone", "kept"], 7200)
    feed(before, 1000, [0, 0], [0, 0])
    feed(before, 1500, [1, 10], [1, 20])
    store.save(before)
    after = History(["new", "kept"], 7200)
    after.restore(store.load())
    feed(after, 1501, [500, 10], [500, 20])
    feed(after, 1502, [501, 11], [502, 22])
    assert [side.tolist() for side in after.window(3600)] == [[1, 11], [2, 22]]


def test_rows_from_after_now_are_left_out_so_that_a_reset_clock_does_not_freeze_the_history() -> None:
    store = Store()
    before = History(["a"], 7200)
    feed(before, 50_000, [0], [0])
    feed(before, 50_010, [5], [5])
    store.save(before)
    after = History(["a"], 7200)
    after.restore(store.load(), now=100)
    feed(after, 100, [5], [5])
    feed(after, 200, [6], [7])
    assert after.now == 200
    assert [side.tolist() for side in after.window(150)] == [[1], [2]]


def test_each_closed_slot_is_given_out_once() -> None:
    history = History(["a"], 60)
    feed(history, 10, [0], [0])
    feed(history, 12.5, [1], [1])
    assert [row[1:3] for row in history.unsaved()] == [(0, 0), (1, 9), (1, 10), (1, 11), (1, 12)]
    assert [row[1:3] for row in history.unsaved()] == [(0, 0)]
    feed(history, 13.5, [2], [2])
    assert history.unsaved() == [("a", 0, 0, 2, 2), ("a", 1, 13, 1, 1)]


@pytest.mark.parametrize("seconds", [0, -1, 61, math.inf])
def test_a_window_that_cannot_be_answered_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="the history reaches 60 s back"):
        History(["a"], 60).window(seconds)


def test_before_the_first_tick_there_are_no_events() -> None:
    good, total = History(["a"], 60).window(10)
    assert (good.tolist(), total.tolist()) == ([0], [0])
