"""Events that a source tells of later: in the history as if they had been counted when they happened."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.slo.calendars import Calendar
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.history import History
from sloctl.slo.objective import Objective, QueryRatio

START = 1_700_000_000
WINDOWS = (60, 300, 600, 3600, 7200)
EVENT = st.tuples(st.integers(1, 7200), st.integers(0, 50), st.integers(0, 50))


def counts(*values: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array(values, np.int64)


def tell(history: History, name: str, events: Sequence[tuple[int, int, int]]) -> None:
    told = sorted(events)
    history.insert(name, [START + at for at, _, _ in told], [g for _, g, _ in told], [g + b for _, g, b in told])


@settings(max_examples=150)
@given(st.lists(st.lists(EVENT, max_size=6), max_size=5), st.lists(EVENT, max_size=8), st.integers(0, 7200))
def test_late_events_are_where_they_belong_and_the_others_stay_as_they_are(
    batches: list[list[tuple[int, int, int]]], live: list[tuple[int, int, int]], told_at: int
) -> None:
    history = History(["late", "live"], 7200)
    history.advance(START, counts(0, 0), counts(0, 0))
    good = total = 0
    for second in sorted({*range(60, 7201, 60), *(at for at, _, _ in live)}):
        for _, g, b in [event for event in live if event[0] == second]:
            good, total = good + g, total + g + b
        history.advance(START + second, counts(0, good), counts(0, total))
    for batch in batches:
        tell(history, "late", batch)
    history.advance(START + 7200 + told_at % 7, counts(0, good), counts(0, total))
    now = told_at % 7 + 7200
    for window in WINDOWS:
        # A window's start is known to a slot of the finest ring that reaches back so far.
        slot = 1 if window <= 600 else 10
        begin = (now - window) // slot * slot
        for column, events in ((0, [e for batch in batches for e in batch]), (1, live)):
            inside = [(g, g + b) for at, g, b in events if begin < at <= now]
            found = tuple(int(side[column]) for side in history.window(window))
            assert found == (sum(g for g, _ in inside), sum(t for _, t in inside))


@given(st.lists(EVENT, min_size=1, max_size=8), st.lists(EVENT, min_size=1, max_size=8))
def test_what_was_kept_and_has_changed_since_is_kept_again(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]
) -> None:
    history = History(["late"], 7200)
    history.advance(START, counts(0), counts(0))
    history.advance(START + 7200, counts(0), counts(0))
    kept = {row[:3]: row for row in history.unsaved()}
    for batch in (first, second):
        tell(history, "late", batch)
        kept |= {row[:3]: row for row in history.unsaved()}
    restored = History(["late"], 7200)
    restored.restore(kept.values())
    restored.advance(START + 7200, counts(0), counts(0))
    for window in WINDOWS:
        assert [side.tolist() for side in restored.window(window)] == [side.tolist() for side in history.window(window)]


def test_of_a_calendar_period_only_what_came_after_its_beginning_counts() -> None:
    day = Calendar(1, "d", datetime(2023, 1, 1), "UTC")
    objective = Objective("s", "s", "s", QueryRatio("t", bad="b"), 0.9, 86400.0, calendar=day)
    evaluator = Evaluator([objective], ())
    midnight = 1_700_006_400
    for now in (midnight - 3600, midnight + 600):
        evaluator.advance(now, counts(0), counts(0))
    unit = objective.unit
    evaluator.insert(
        "s", [midnight - 60, midnight, midnight + 60], [0, 0, 90 * unit], [50 * unit, 50 * unit, 100 * unit]
    )
    evaluator.advance(midnight + 601, counts(0), counts(0))
    assert evaluator.budget_remaining("s") == pytest.approx(0)
    assert evaluator.counted("s") == (90, 200)
