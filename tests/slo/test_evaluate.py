from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.slo.evaluate import Alert, Evaluator
from sloctl.slo.objective import Objective, Ratio, Selector, Threshold, thresholds
from sloctl.slo.windows import AlertWindow

DAY = 86400.0
OK = Ratio(Selector("sloctl_requests_total"), good=Selector("sloctl_requests_total", {"outcome": ("ok",)}))


def objective(name: str = "a", target: float = 0.99, period: float = 30 * DAY) -> Objective:
    return Objective(name, "digits", name, OK, target, period)


def advance(evaluator: Evaluator, now: float, good: Sequence[int], total: Sequence[int]) -> None:
    evaluator.advance(now, np.array(good), np.array(total))


def firing(evaluator: Evaluator) -> set[str]:
    return {alert.window for alert in evaluator.alerts() if alert.firing}


def test_burn_rate_and_budget_are_error_ratio_over_budget(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = Evaluator([objective()], workbook)
    advance(evaluator, 0, [0], [0])
    advance(evaluator, 100, [995], [1000])
    assert evaluator.events("a", 3600) == (995, 1000)
    assert evaluator.error_ratio("a", 3600) == 0.005
    assert evaluator.burn_rate("a", 3600) == 0.5  # exactly: the budget is 0.01, not 1 - 0.99
    assert evaluator.budget_remaining("a") == 0.5


@pytest.mark.parametrize(
    ("good", "left"),
    [
        (1000, 30 * DAY),
        (995, 30 * DAY),  # half the budget in a window without a past: at this rate it lasts for ever
        (985, 0.0),
    ],
)
def test_a_budget_lasts_at_most_its_period_and_no_time_once_it_is_gone(
    workbook: tuple[AlertWindow, ...], good: int, left: float
) -> None:
    evaluator = Evaluator([objective()], workbook)
    advance(evaluator, 0, [0], [0])
    advance(evaluator, 100, [good], [1000])
    assert evaluator.time_to_exhaustion("a", 3600) == left


def test_a_budget_that_burns_ten_times_too_fast_lasts_a_tenth_of_what_is_left(
    workbook: tuple[AlertWindow, ...],
) -> None:
    evaluator = Evaluator([objective()], workbook)
    advance(evaluator, 0, [0], [0])
    advance(evaluator, 10 * DAY, [100_000], [100_000])
    advance(evaluator, 10 * DAY + 600, [100_900], [101_000])  # 10 % bad: a burn rate of 10
    left = 1 - 100 / 101_000 / 0.01
    assert evaluator.time_to_exhaustion("a", 300) == pytest.approx(left * 30 * DAY / 10)


def test_an_overspent_budget_is_negative(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = Evaluator([objective()], workbook)
    advance(evaluator, 0, [0], [0])
    advance(evaluator, 1, [97], [100])
    assert evaluator.budget_remaining("a") == pytest.approx(-2)


def test_without_traffic_nothing_burns_and_it_says_that_there_is_no_data(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = Evaluator([objective()], workbook)
    advance(evaluator, 0, [0], [0])
    advance(evaluator, 60, [50], [100])
    advance(evaluator, 60 + 1800, [50], [100])  # half an hour of silence
    assert evaluator.has_data("a", 3600)
    assert not evaluator.has_data("a", 600)
    assert evaluator.error_ratio("a", 600) == evaluator.burn_rate("a", 600) == 0
    assert evaluator.error_ratio("a", 30 * DAY) == 0.5
    assert firing(evaluator) == {"ticket-fast", "ticket-slow"}, "the short windows of the pages hold no errors"


def test_a_busy_bad_hour_counts_by_its_events_and_not_as_one_hour_of_many(workbook: tuple[AlertWindow, ...]) -> None:
    # An average of averages says (5 % + 23 × 0) / 24 = 0.2 % here; the truth is 3,000 of 73,800.
    evaluator = Evaluator([objective()], workbook)
    good = total = 0
    advance(evaluator, 0, [0], [0])
    for minute in range(1, 24 * 60 + 1):
        busy = minute <= 60
        total += 1000 if busy else 10
        good += 950 if busy else 10
        advance(evaluator, minute * 60, [good], [total])
    assert evaluator.events("a", DAY) == (70_800, 73_800)
    assert evaluator.error_ratio("a", DAY) == evaluator.error_ratio("a", 30 * DAY) == 3000 / 73800


def test_an_alert_needs_both_windows(demo: tuple[AlertWindow, ...]) -> None:
    evaluator = Evaluator([objective(period=3600)], demo)
    good = total = 0
    seen = []
    for second in range(60):
        bad = 50 if 20 <= second < 30 else 0
        total += 100
        good += 100 - bad
        advance(evaluator, second, [good], [total])
        page = next(alert for alert in evaluator.alerts() if alert.severity == "page")
        assert page.firing == (page.burn_long > 14.4 and page.burn_short > 14.4)
        seen.append(page.firing)
    # Three bad seconds are 15 % of the 10 s; the short window clears 2 s after the last one.
    assert [second for second, fires in enumerate(seen) if fires] == list(range(22, 31))


def test_an_alert_at_exactly_the_factor_does_not_fire_yet(demo: tuple[AlertWindow, ...]) -> None:
    evaluator = Evaluator([objective(period=3600)], demo)
    advance(evaluator, 0, [0], [0])
    advance(evaluator, 1, [1000 - 144], [1000])
    page = evaluator.alerts()[0]
    assert page == Alert("a", "page", "page", pytest.approx(14.4), pytest.approx(14.4), page.firing, 14.4)
    assert not page.firing
    advance(evaluator, 1.5, [1000 - 144], [1001 + 10])
    assert evaluator.alerts()[0].firing


def test_slos_of_different_periods_have_their_own_windows(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = Evaluator([objective("month"), objective("day", period=DAY)], workbook)
    assert evaluator.window_lengths("month") == (300, 1800, 3600, 7200, 21600, DAY, 3 * DAY, 30 * DAY)
    assert evaluator.window_lengths("day") == (10, 60, 120, 240, 720, 2880, 8700, DAY)
    advance(evaluator, 0, [0, 0], [0, 0])
    advance(evaluator, 1800, [1000, 1000], [1000, 1000])
    advance(evaluator, 3605, [1000, 1000], [1100, 1100])
    pages = {alert.slo for alert in evaluator.alerts() if alert.firing and alert.window == "page-fast"}
    assert pages == {"day"}, "9 % of an hour is no page, but all of two minutes is"


def test_a_restart_changes_no_figure(workbook: tuple[AlertWindow, ...]) -> None:
    first = Evaluator([objective()], workbook)
    rows = []
    for minute in range(300):
        advance(first, minute * 60.0, [minute * 90], [minute * 100])
        rows += first.unsaved()[0]
    second = Evaluator([objective()], workbook)
    second.restore(rows)
    advance(second, 299 * 60.0, [299 * 90], [299 * 100])
    assert second.alerts() == first.alerts()
    assert second.budget_remaining("a") == first.budget_remaining("a")


def test_two_slos_of_one_name_are_refused(workbook: tuple[AlertWindow, ...]) -> None:
    with pytest.raises(ValueError, match="same name"):
        Evaluator([objective(), objective()], workbook)


def test_no_slos_at_all_is_fine(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = Evaluator([], workbook)
    advance(evaluator, 1, [], [])
    assert evaluator.alerts() == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5000), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30))
def test_ratios_stay_between_nothing_and_all_and_are_never_nan(ticks: list[tuple[float, int, int]]) -> None:
    windows = (AlertWindow("p", "page", 0.02, 3600, 300),)
    evaluator = Evaluator([objective()], windows)
    now = good = total = 0
    for delta, new_good, new_bad in ticks:
        now, good, total = now + delta, good + new_good, total + new_good + new_bad
        advance(evaluator, now, [good], [total])
        for seconds in evaluator.window_lengths("a"):
            assert 0 <= evaluator.error_ratio("a", seconds) <= 1
        assert evaluator.budget_remaining("a") <= 1


def test_latency_thresholds_are_those_of_duration_histograms_only() -> None:
    def over(metric: str, value: float) -> Objective:
        return Objective("x", "s", "x", Threshold(Selector(metric), "lte", value), 0.99, DAY)

    duration = "sloctl_request_duration_seconds"
    found = thresholds(
        [
            over(duration, 0.25),
            over(duration, 0.033),
            over(duration, 0.25),
            over("sloctl_batch_size", 8),
            over("sloctl_queue_length", 9),
            objective(),
        ]
    )
    assert found == (0.033, 0.25)


def test_a_ratio_has_either_good_or_bad() -> None:
    total = Selector("sloctl_requests_total")
    with pytest.raises(ValueError, match="either good or bad"):
        Ratio(total)
    with pytest.raises(ValueError, match="either good or bad"):
        Ratio(total, good=total, bad=total)
