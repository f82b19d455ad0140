"""SLOs over time slices and calendar periods in process, against a recount."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.slo.calendars import Calendar
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Objective, Ratio, Selector, Slices
from sloctl.slo.slices import SLICE
from sloctl.slo.windows import Alarm, AlertWindow

DAY = 86400.0
OK = Ratio(Selector("sloctl_requests_total"), good=Selector("sloctl_requests_total", {"outcome": ("ok",)}))
PLAIN = Objective("a", "digits", "a", OK, 0.99, DAY)
MINUTES = replace(PLAIN, slices=Slices(60, 0.9))
RATIOS = replace(PLAIN, slices=Slices(60))


def advance(evaluator: Evaluator, now: float, good: int, total: int) -> None:
    evaluator.advance(now, np.array([good]), np.array([total]))


def played(objective: Objective, steps: Sequence[tuple[float, int, int]], windows: Sequence[AlertWindow]) -> Evaluator:
    """An evaluator after (time, good, bad) steps, each what is new by then."""
    evaluator = Evaluator([objective], windows)
    advance(evaluator, 0, 0, 0)
    good = total = 0
    for now, new, bad in steps:
        good, total = good + new, total + new + bad
        advance(evaluator, now, good, total)
    return evaluator


def test_a_slice_is_good_by_its_target_and_counts_once(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = played(MINUTES, [(60, 90, 10), (120, 89, 11), (180, 1, 0)], workbook)
    assert evaluator.events("a", DAY) == (2, 3)
    assert evaluator.budget_remaining("a") == pytest.approx(1 - (1 / 3) / 0.01)


def test_a_slice_without_events_is_no_event(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = played(MINUTES, [(60, 90, 0), (300, 0, 0), (360, 9, 0)], workbook)
    assert evaluator.events("a", DAY) == (2, 2)


def test_slices_by_ratio_weigh_the_same(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = played(RATIOS, [(60, 1000, 0), (120, 1, 1)], workbook)
    assert evaluator.events("a", DAY) == (1.5, 2)
    assert evaluator.error_ratio("a", DAY) == 0.25


def test_a_slice_counts_when_it_is_over(workbook: tuple[AlertWindow, ...]) -> None:
    assert played(MINUTES, [(30, 5, 5), (59.9, 0, 0)], workbook).events("a", DAY) == (0, 0)
    assert played(MINUTES, [(30, 5, 5), (60.1, 9, 0)], workbook).events("a", DAY) == (0, 1)


def test_no_alerting_window_is_shorter_than_a_slice(workbook: tuple[AlertWindow, ...]) -> None:
    hourly = Evaluator([replace(MINUTES, period_seconds=3600.0)], workbook)
    assert all(length % 60 == 0 and length > 0 for length in hourly.window_lengths("a"))
    assert all(alert.factor >= 1 for alert in hourly.alerts())


_STEPS = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=40)


@given(_STEPS, st.sampled_from([MINUTES, RATIOS]), st.integers(0, 40))
@settings(max_examples=200)
def test_slices_equal_a_recount_also_over_a_restart(
    steps: list[tuple[int, int, int]], objective: Objective, cut: int
) -> None:
    evaluator = Evaluator([objective], [])
    advance(evaluator, 0, 0, 0)
    now = good = total = 0
    slices: dict[int, list[int]] = {}
    for number, (wait, new, bad) in enumerate(steps):
        now, good, total = now + wait, good + new, total + new + bad
        found = slices.setdefault((now - 1) // 60, [0, 0])
        found[0] += new
        found[1] += new + bad
        if number != cut:
            advance(evaluator, now, good, total)
            continue
        advance(evaluator, now, good, total)
        rows, _ = evaluator.unsaved()
        evaluator = Evaluator([objective], [])
        evaluator.restore(rows)
        advance(evaluator, now, good, total)
    ended = [(g, t) for index, (g, t) in slices.items() if t and (index + 1) * 60 <= now]
    assert evaluator.events("a", DAY)[1] == len(ended)
    expected = sum(g / t if objective is RATIOS else g / t >= 0.9 for g, t in ended)
    assert evaluator.events("a", DAY)[0] == pytest.approx(expected, abs=1e-9)


def test_open_slices_of_several_lengths_leave_no_rows_behind(workbook: tuple[AlertWindow, ...]) -> None:
    minutes, hours = (replace(RATIOS, name=name, slices=Slices(s)) for name, s in (("a", 60), ("b", 3600)))
    evaluator, kept = Evaluator([minutes, hours], workbook), set()
    for now in range(60, 5 * 3600, 60):
        evaluator.advance(now, np.array([now, now]), np.array([now, now]))
        rows, oldest = evaluator.unsaved()
        kept |= {row[:3] for row in rows if row[1] == SLICE}
        kept = {key for key in kept if key[2] >= oldest[SLICE]}
    assert {name for name, _, _ in kept} == {"a", "b"}
    assert len(kept) <= 3600 // 60 + 1, "no more than began within the longest slice"


# --- calendar periods

BERLIN = Calendar(1, "d", datetime(2026, 1, 1), "Europe/Berlin")
DAILY = replace(PLAIN, calendar=BERLIN)


def test_a_new_day_has_its_whole_budget_and_the_old_one_is_forgotten(workbook: tuple[AlertWindow, ...]) -> None:
    noon = datetime(2026, 3, 28, 11, tzinfo=UTC).timestamp()
    evaluator = Evaluator([DAILY], workbook)
    end = BERLIN.end(noon)
    advance(evaluator, noon, 0, 0)
    advance(evaluator, end - 1, 50, 100)
    assert evaluator.budget_remaining("a") == pytest.approx(1 - 0.5 / 0.01)
    advance(evaluator, end, 50, 101)
    assert evaluator.period_began("a") == BERLIN.begin(noon), "the bound itself belongs to the old day"
    advance(evaluator, end + 1, 149, 201)
    assert evaluator.period_began("a") == end
    assert evaluator.budget_remaining("a") == pytest.approx(0)
    advance(evaluator, BERLIN.end(end + 1) + 60, 149, 201)
    assert evaluator.budget_remaining("a") == 1


def test_a_calendar_period_goes_on_after_a_restart(workbook: tuple[AlertWindow, ...]) -> None:
    noon = datetime(2026, 3, 28, 11, tzinfo=UTC).timestamp()
    first = Evaluator([DAILY], workbook)
    for now, good in ((noon, 7), (noon + 60, 107)):
        advance(first, now, good, good)
    rows, oldest = first.unsaved()
    second = Evaluator([DAILY], workbook)
    second.restore(row for row in rows if row[2] >= oldest.get(row[1], 0))
    advance(second, noon + 120, 107, 107)
    advance(second, noon + 180, 107, 109)
    assert second.budget_remaining("a") == pytest.approx(1 - (2 / 102) / 0.01)


# --- alerts of an SLO's own


def test_an_alert_that_has_to_hold_fires_only_then(workbook: tuple[AlertWindow, ...]) -> None:
    alarm = Alarm("own", "sev1", 10, 60, 60, after=30, at_least=True)
    evaluator = Evaluator([replace(PLAIN, alarms=(alarm,))], workbook)
    advance(evaluator, 0, 0, 0)
    fired = {}
    for now, good, total in ((10, 90, 100), (39, 90, 100), (40, 90, 100), (110, 190, 200), (115, 190, 300)):
        advance(evaluator, now, good, total)
        ((_, severity, window, _, _, fires, _),) = evaluator.alerts()
        assert (severity, window) == ("sev1", "own")
        fired[now] = fires
    assert fired == {10: False, 39: False, 40: True, 110: False, 115: False}
