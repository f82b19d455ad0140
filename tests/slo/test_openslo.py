from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from sloctl.slo.objective import Ratio, Selector, Threshold
from sloctl.slo.openslo import SloDocument, check, objectives, thresholds
from sloctl.slo.shorthand import parse_period
from sloctl.slo.windows import AlertWindow

ROOT = Path(__file__).parents[2]
DAY = 86400.0
LATENCY, AVAILABILITY = "rules/slo/latency.yaml", "rules/slo/availability.yaml"
THRESHOLD = ("spec", "indicator", "spec", "thresholdMetric", "metricSource", "spec")
RATIO = ("spec", "indicator", "spec", "ratioMetric")
MISSING = object()


def changed(base: str, changes: Mapping[tuple[str | int, ...], Any]) -> Any:
    """A sample document with places replaced, or removed by MISSING."""
    document: Any = yaml.load((ROOT / base).read_text(), yaml.CSafeLoader)
    for path, value in changes.items():
        place = document
        for step in path[:-1]:
            place = place[step]
        if value is MISSING:
            del place[path[-1]]
        else:
            place[path[-1]] = value
    return document


def read(base: str, changes: Mapping[tuple[str | int, ...], Any] | None = None) -> SloDocument:
    return SloDocument.model_validate(changed(base, changes or {}))


# --- what is understood


def test_the_latency_sample_is_a_threshold_over_all_variants() -> None:
    document = read(LATENCY)
    assert check(document) == []
    (objective,) = objectives(document)
    selector = Selector("sloctl_request_duration_seconds", {"model": ("digits",)})
    assert objective.indicator == Threshold(selector, "lte", 0.25)
    assert (objective.name, objective.service, objective.display_name) == ("digits-latency", "digits", "within 250 ms")
    assert (objective.target, objective.budget, objective.period_seconds) == (0.99, 0.01, 30 * DAY)
    assert thresholds([objective]) == (0.25,)


def test_the_availability_sample_leaves_what_was_shed_neutral() -> None:
    document = read(AVAILABILITY)
    assert check(document) == []
    (objective,) = objectives(document)
    assert isinstance(objective.indicator, Ratio)
    assert objective.indicator.good == Selector("sloctl_requests_total", {"model": ("digits",), "outcome": ("ok",)})
    assert objective.indicator.total.labels["outcome"] == ("ok", "error")


def test_the_samples_can_fire_every_alert_of_the_workbook(workbook: tuple[AlertWindow, ...]) -> None:
    assert [check(read(path), workbook) for path in (LATENCY, AVAILABILITY)] == [[], []]


def test_several_objectives_are_named_by_display_name_or_index() -> None:
    several = [
        {"displayName": "Within 100 ms", "op": "lte", "value": 0.1, "target": 0.95},
        {"op": "lte", "value": 1, "targetPercent": 99.9},
    ]
    document = read(LATENCY, {("spec", "objectives"): several})
    assert [o.name for o in objectives(document)] == ["digits-latency-within-100-ms", "digits-latency-1"]
    assert [o.target for o in objectives(document)] == [0.95, 0.999]
    assert thresholds(objectives(document)) == (0.1, 1.0)
    assert check(document) == []


def test_labels_and_annotations_come_along() -> None:
    metadata = {"name": "x", "labels": {"team": ["a", "b"]}, "annotations": {"dashboard": "d"}}
    (objective,) = objectives(read(LATENCY, {("metadata",): metadata}))
    assert objective.labels == {"team": "a,b"}
    assert objective.annotations["dashboard"] == "d"
    assert objective.annotations["description"].startswith("End-to-end")


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m", 60), ("1h", 3600), ("7d", 7 * DAY), ("4w", 28 * DAY), ("366d", 366 * DAY)]
)
def test_periods(text: str, seconds: float) -> None:
    assert parse_period(text) == seconds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("1M", "calendar period", id="a month has no fixed length and is no minute"),
        pytest.param("1Q", "calendar period", id="nor has a quarter"),
        pytest.param("1Y", "calendar period", id="nor has a year"),
        pytest.param("30", "expected a duration", id="a number without a unit says nothing"),
        pytest.param(30, "expected a duration", id="nor does a bare number"),
        pytest.param(30.0, "expected a duration", id="of whatever type"),
        pytest.param("0d", "between 1m and 366d", id="nothing is too short"),
        pytest.param("99999d", "between 1m and 366d", id="three centuries are too long"),
    ],
)
def test_periods_that_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_period(value)


# --- what is refused by its form

OBJECTIVE = ("spec", "objectives", 0)
TIME_WINDOW = ("spec", "timeWindow", 0)
CALENDAR = {"startTime": "2026-01-01 00:00:00", "timeZone": "America/New_York"}
NEW_YORK = {"duration": "1M", "calendar": CALENDAR}


@pytest.mark.parametrize(
    ("base", "path", "value", "loc", "message"),
    [
        pytest.param(LATENCY, ("spec", "budgetingMethod"), "Weeks", None, "'Timeslices'", id="a method of no standard"),
        pytest.param(LATENCY, (*OBJECTIVE, "timeSliceTarget"), 1.1, None, "less than or equal to 1", id="beyond all"),
        pytest.param(LATENCY, (*OBJECTIVE, "timeSliceWindow"), "2d", None, "between 1m and 1d", id="a slice of days"),
        pytest.param(LATENCY, (*OBJECTIVE, "compositeWeight"), 1, None, "composite", id="a weight"),
        pytest.param(LATENCY, ("spec", "indicatorRef"), "x", ("spec",), "not both", id="two indicators"),
        pytest.param(LATENCY, ("spec", "alertPolicies"), [], None, "at least 1", id="no alert policies"),
        pytest.param(LATENCY, (*THRESHOLD[:-1], "type"), "Datadog", None, "'Prometheus'", id="another source"),
        pytest.param(
            LATENCY,
            (*THRESHOLD[:-1], "type"),
            "Prometheus",
            THRESHOLD[:-1],
            "spec.query",
            id="a metric of a Prometheus",
        ),
        pytest.param(
            LATENCY,
            ("spec", "timeWindow", 0, "calendar"),
            CALENDAR,
            ("spec", "timeWindow", 0),
            "either",
            id="two periods",
        ),
        pytest.param(
            LATENCY,
            TIME_WINDOW,
            {**NEW_YORK, "calendar": CALENDAR | {"timeZone": "Mars/Base"}},
            None,
            "time zone",
            id="a zone of nowhere",
        ),
        pytest.param(
            LATENCY,
            TIME_WINDOW,
            {**NEW_YORK, "calendar": CALENDAR | {"startTime": "tomorrow"}},
            None,
            "date and time",
            id="a start that is no date",
        ),
        pytest.param(LATENCY, TIME_WINDOW, {**NEW_YORK, "duration": "2Y"}, None, "between 1m and 1Y", id="two years"),
        pytest.param(
            LATENCY,
            ("spec", "timeWindow", 0, "isRolling"),
            MISSING,
            ("spec", "timeWindow", 0),
            "expected either isRolling: true, or a calendar",
            id="a period that does not roll",
        ),
        pytest.param(
            LATENCY, ("spec", "timeWindow", 0, "duration"), "1M", None, "calendar period", id="a month as a period"
        ),
        pytest.param(AVAILABILITY, (*RATIO, "rawType"), "success", RATIO, "belong together", id="a type without raw"),
        pytest.param(AVAILABILITY, (*RATIO, "counter"), MISSING, RATIO, "missing counter", id="counters or gauges"),
        pytest.param(AVAILABILITY, (*RATIO, "good"), MISSING, RATIO, "either good or bad", id="neither good nor bad"),
        pytest.param(LATENCY, (*OBJECTIVE, "target"), MISSING, OBJECTIVE, "either target or", id="no target"),
        pytest.param(LATENCY, (*OBJECTIVE, "targetPercent"), 99, OBJECTIVE, "not both", id="two targets"),
        pytest.param(LATENCY, (*OBJECTIVE, "target"), 99, OBJECTIVE, "above 0 and below 1", id="a percentage as share"),
        pytest.param(LATENCY, (*OBJECTIVE, "target"), 1, OBJECTIVE, "no error budget", id="a target of all"),
        pytest.param(LATENCY, (*OBJECTIVE, "op"), "le", None, "'lte'", id="an operator by another name"),
        pytest.param(LATENCY, ("metadata", "name"), "a b", None, "pattern", id="a name with a space"),
        pytest.param(LATENCY, ("spec", "surprise"), 1, None, "not permitted", id="a field that nobody knows"),
        pytest.param(LATENCY, ("spec", "objectives"), [], None, "at least 1", id="no objectives"),
        pytest.param(LATENCY, (*THRESHOLD, "labels", "model"), [], None, "at least 1", id="a label without values"),
    ],
)
def test_what_is_not_supported_is_refused_at_its_place(
    base: str, path: tuple[str | int, ...], value: Any, loc: tuple[str | int, ...] | None, message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        read(base, {path: value})
    expected = loc or path
    assert all(error["loc"][: len(expected)] == expected for error in caught.value.errors())


# --- what is refused by its meaning


def selecting(metric: str, **labels: Any) -> dict[str, Any]:
    return {"metric": metric, "labels": labels}


GOOD = (*RATIO, "good", "metricSource", "spec")
TOTAL = (*RATIO, "total", "metricSource", "spec")


@pytest.mark.parametrize(
    ("base", "path", "value", "loc", "message"),
    [
        pytest.param(
            LATENCY,
            (*THRESHOLD, "metric"),
            "sloctl_request_durations_seconds",
            None,
            "did you mean sloctl_request_duration_seconds?",
            id="a metric that is misspelt",
        ),
        pytest.param(
            LATENCY,
            (*THRESHOLD, "labels", "outcome"),
            "ok",
            None,
            "no label 'outcome'; it has model, variant",
            id="a label that the metric does not have",
        ),
        pytest.param(
            AVAILABILITY,
            (*GOOD, "labels", "outcome"),
            "okay",
            None,
            "outcome is never 'okay'; expected one of ok, invalid",
            id="an outcome that never occurs",
        ),
        pytest.param(
            LATENCY,
            THRESHOLD,
            selecting("sloctl_requests_total"),
            (*THRESHOLD, "metric"),
            "is a counter; a thresholdMetric takes a histogram or a gauge; for counters use a ratioMetric",
            id="a counter against a threshold",
        ),
        pytest.param(
            AVAILABILITY,
            GOOD,
            selecting("sloctl_request_duration_seconds"),
            (*GOOD, "metric"),
            "is a histogram; a ratioMetric takes counters; for latency use a thresholdMetric",
            id="a histogram in a ratio",
        ),
        pytest.param(
            AVAILABILITY,
            GOOD,
            selecting("sloctl_decisions_total"),
            (*GOOD, "metric"),
            "does not count events of the data plane",
            id="a counter of the control plane",
        ),
        pytest.param(
            AVAILABILITY,
            GOOD,
            selecting("sloctl_health_probe_seconds_total"),
            (*GOOD, "metric"),
            "does not count events",
            id="a counter of seconds",
        ),
        pytest.param(
            AVAILABILITY,
            (*GOOD, "labels", "outcome"),
            ["ok", "shed"],
            None,
            "good counts outcome shed, which total leaves out",
            id="good events that are not in the total",
        ),
        pytest.param(
            AVAILABILITY,
            (*GOOD, "labels"),
            {"outcome": "ok"},
            None,
            "good has any model, total only digits",
            id="good events of more models than the total",
        ),
        pytest.param(LATENCY, (*OBJECTIVE, "op"), MISSING, OBJECTIVE, "expected op and value", id="no operator"),
        pytest.param(AVAILABILITY, (*OBJECTIVE, "value"), 1, OBJECTIVE, "no op or value", id="a value for a ratio"),
        pytest.param(
            LATENCY, ("spec", "budgetingMethod"), "RatioTimeslices", OBJECTIVE, "without timeSliceWindow", id="no slice"
        ),
        pytest.param(
            LATENCY, (*OBJECTIVE, "timeSliceWindow"), "1m", None, "not belong to Occurrences", id="a slice of no method"
        ),
        pytest.param(
            AVAILABILITY,
            (*RATIO, "counter"),
            False,
            (*GOOD, "metric"),
            "does not count at a moment",
            id="counters as gauges",
        ),
        pytest.param(
            AVAILABILITY,
            RATIO,
            {"raw": {"metricSource": {"type": "sloctl", "spec": {"metric": "sloctl_ready"}}}, "rawType": "success"},
            (*RATIO, "raw", "metricSource", "spec", "metric"),
            "sloctl_ready is no ratio",
            id="a gauge that is no share",
        ),
        pytest.param(
            AVAILABILITY,
            RATIO,
            {"raw": {"metricSource": {"type": "Prometheus", "spec": {"query": "x[5m]"}}}, "rawType": "failure"},
            (*RATIO, "raw", "metricSource", "spec", "query"),
            "no {{.window}}",
            id="a query for one window only",
        ),
        pytest.param(
            LATENCY,
            (*OBJECTIVE, "value"),
            250,
            None,
            "250 s is outside the histogram, 1e-05 s to 100 s (for 250 ms write 0.25)",
            id="milliseconds as seconds",
        ),
        pytest.param(
            LATENCY, (*OBJECTIVE, "value"), 0, None, "0 s is outside the histogram", id="a threshold of nothing"
        ),
        pytest.param(
            LATENCY,
            THRESHOLD,
            selecting("sloctl_batch_size"),
            (*OBJECTIVE, "value"),
            "0.25 is no bound of sloctl_batch_size; expected one of 1, 2, 4",
            id="a batch size between the bounds",
        ),
        pytest.param(
            LATENCY,
            (*OBJECTIVE, "target"),
            0.93,
            None,
            "the page window 'page-fast' can never fire: with every event bad the budget burns at 14.3, "
            "and it takes more than 14.4; raise the target above 93.06%",
            id="a target that can never page",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_place(
    base: str,
    path: tuple[str | int, ...],
    value: Any,
    loc: tuple[str | int, ...] | None,
    message: str,
    workbook: tuple[AlertWindow, ...],
) -> None:
    found, text = check(read(base, {path: value}), workbook)[0]
    assert found == (loc or path)
    assert message in text


def test_a_target_just_above_the_limit_can_page(workbook: tuple[AlertWindow, ...]) -> None:
    assert check(read(LATENCY, {(*OBJECTIVE, "target"): 0.9306}), workbook) == []


def test_two_objectives_of_one_name_are_refused() -> None:
    same = {"displayName": "x", "op": "lte", "value": 1, "target": 0.95}
    ((loc, text),) = check(read(LATENCY, {("spec", "objectives"): [same, same]}))
    assert loc == ("spec", "objectives", 1)
    assert "named 'digits-latency-x'" in text


def test_everything_wrong_is_told_at_once() -> None:
    document = read(
        AVAILABILITY,
        {(*GOOD, "metric"): "nope", (*TOTAL, "labels", "colour"): "red", (*TOTAL, "labels", "outcome"): "fine"},
    )
    assert len(check(document)) == 3


def test_a_gauge_may_have_any_threshold() -> None:
    changes = {THRESHOLD: selecting("sloctl_queue_length", model="digits"), (*OBJECTIVE, "value"): 1000}
    assert check(read(LATENCY, changes)) == []
