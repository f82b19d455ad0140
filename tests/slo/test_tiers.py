"""The alerts of SLOs: one for each tier, whichever of its pairs of windows is exceeded."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from sloctl.slo.alerting import Active, AlertStates
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import BudgetStep, Objective, Ratio, Selector, Tier
from sloctl.slo.tiers import TierAlerts
from sloctl.slo.windows import Alarm, AlertWindow

DAY = 86400.0
OK = Ratio(Selector("sloctl_requests_total"), good=Selector("sloctl_requests_total", {"outcome": ("ok",)}))
SLO = Objective("a", "digits", "a", OK, 0.99, 30 * DAY, labels={"team": "sre", "severity": "forged"})


def outage(objectives: Sequence[Objective], windows: Sequence[AlertWindow], seconds: float, share: float) -> Evaluator:
    """Ten good days at ten events a second, then so many seconds with a share of bad ones."""
    evaluator = Evaluator(objectives, windows)
    size = len(objectives)
    for hour in range(10 * 24 + 1):
        evaluator.advance(hour * 3600, np.full(size, hour * 36_000), np.full(size, hour * 36_000))
    good, more = 10 * 24 * 36_000, int(10 * seconds)
    evaluator.advance(10 * DAY + seconds, np.full(size, good + int(more * (1 - share))), np.full(size, good + more))
    return evaluator


def alerts(evaluator: Evaluator, windows: Sequence[AlertWindow], no_data: Sequence[str] = ()) -> list[Active]:
    return list(TierAlerts(evaluator.objectives, windows, "https://runbooks").active(evaluator, no_data))


def test_both_pairs_of_a_tier_are_one_alert(workbook: tuple[AlertWindow, ...]) -> None:
    found = alerts(outage([SLO], workbook, 3600, 1.0), workbook)
    assert [each.labels for each in found] == [
        {
            "alertname": "SloctlErrorBudgetBurn",
            "severity": tier,
            "sloctl_tier": tier,
            "sloctl_slo": "a",
            "sloctl_service": "digits",
            "team": "sre",
        }
        for tier in ("page", "ticket")
    ]


def test_it_stays_the_same_alert_while_another_pair_takes_over(workbook: tuple[AlertWindow, ...]) -> None:
    states = AlertStates()
    page = [window for window in workbook if window.severity == "page"]
    fast = alerts(outage([SLO], page, 700, 1.0), page)
    slow = alerts(outage([SLO], page, 6 * 3600, 0.1), page)
    assert [each.annotations["burn_rate"] for each in (*fast, *slow)] == ["16.3", "10.0"]
    assert len(states.step(0, fast)) == 1
    assert states.step(30, slow) == []


def test_annotations_say_how_fast_what_is_left_and_for_how_long(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = outage([SLO], workbook, 3600, 0.5)
    page = alerts(evaluator, workbook)[0]
    left = evaluator.budget_remaining("a")
    assert page.annotations == {
        "summary": "SLO a burns its error budget too fast",
        "description": "The budget burns over 1h and 5m more than 14.4 times, or over 6h and 30m more than 6 times "
        "as fast as it may.",
        "burn_rate": "50.0",
        "budget_remaining": f"{left:.2%}",
        "time_to_exhaustion": "11h 24m 44s",
        "runbook_url": "https://runbooks/SloctlErrorBudgetBurn.md",
    }
    assert left * 30 * DAY / 50 == pytest.approx((11 * 60 + 24) * 60 + 44, abs=1)


def test_a_tier_has_its_own_name_labels_and_annotations(workbook: tuple[AlertWindow, ...]) -> None:
    tier = Tier("TooSlow", {"severity": "sev1"}, {"summary": "{{ $labels.sloctl_slo }} at {{ $value | humanize }}"})
    named = replace(SLO, tiers={"page": tier, "ticket": None})
    (page,) = alerts(outage([named], workbook, 3600, 1.0), workbook)
    assert page.labels["alertname"] == "TooSlow"
    assert (page.labels["severity"], page.labels["sloctl_tier"]) == ("sev1", "page")
    assert page.annotations["summary"] == "a at 100"
    assert set(TierAlerts([named], workbook, "").names()) == {("TooSlow", "sev1"), ("SloctlSloNoData", "ticket")}


def test_an_alert_policy_holds_for_its_own_while_and_names_whom_it_is_for() -> None:
    alarm = Alarm("own", "sev1", 10, 300, 300, after=120, notify=("on-call", "chat"))
    (alert,) = alerts(outage([replace(SLO, alarms=(alarm,))], (), 3600, 1.0), ())
    assert (alert.hold, alert.labels["sloctl_notify"], alert.labels["sloctl_policy"]) == (120, "on-call,chat", "own")


def test_an_slo_without_data_says_so_and_nothing_else(workbook: tuple[AlertWindow, ...]) -> None:
    other = replace(SLO, name="b")
    found = alerts(outage([SLO, other], workbook, 3600, 1.0), workbook, no_data=["a"])
    names = [(each.labels["alertname"], each.labels["sloctl_slo"]) for each in found]
    assert names == [("SloctlErrorBudgetBurn", "b")] * 2 + [("SloctlSloNoData", "a")]
    assert found[-1].hold == 300


def test_too_few_events_alert_nobody(workbook: tuple[AlertWindow, ...]) -> None:
    few = replace(SLO, minimum_events=10**9)
    assert alerts(outage([few], workbook, 3600, 1.0), workbook) == []


def test_exceeding_is_what_the_pairs_say(workbook: tuple[AlertWindow, ...]) -> None:
    evaluator = outage([SLO, replace(SLO, name="b", target=0.9)], workbook, 3600, 0.8)
    firing = {(alert.slo, alert.severity) for alert in evaluator.alerts() if alert.firing}
    found = {(evaluator.objectives[e.column].name, e.alarms[0].severity) for e in evaluator.exceeding()}
    assert found == firing != set()


def test_each_step_of_the_budget_that_is_spent_is_an_alert_with_its_message(workbook: tuple[AlertWindow, ...]) -> None:
    steps = (BudgetStep("half", 0.5, "canaries {{ only }}"), BudgetStep("none", 0.0, "stop", "page"))
    stepped = replace(SLO, budget_steps=steps)
    evaluator = outage([stepped], workbook, 7200, 0.8)  # of 0.01 of 242 hours two thirds are spent
    (low,) = [each for each in alerts(evaluator, workbook) if each.labels["alertname"] == "SloctlErrorBudgetLow"]
    assert (low.labels["sloctl_step"], low.labels["severity"]) == ("half", "ticket")
    assert low.annotations["description"] == "canaries {{ only }}"
    assert low.annotations["budget_remaining"].endswith("%")
    silent = alerts(evaluator, workbook, ["a"])
    assert [each.labels["alertname"] for each in silent] == ["SloctlSloNoData"]
