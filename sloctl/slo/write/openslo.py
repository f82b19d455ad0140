"""Objectives as OpenSLO v1 documents, one SLO each, with all that it refers to in place."""

from sloctl.slo.objective import (
    Indicator,
    Objective,
    QueryRatio,
    QueryShare,
    QueryThreshold,
    Ratio,
    Raw,
    Selector,
    Threshold,
)
from sloctl.slo.windows import Alarm
from sloctl.slo.write.words import Document, NoWords, lean, shorthand

_LONGEST_TEXT = 1050


def document(objective: Objective) -> Document:
    """The SLO. Raises NoWords."""
    text = objective.annotations.get("description", "")
    said = {"description": text} if 0 < len(text) <= _LONGEST_TEXT else {}
    annotations = {name: value for name, value in objective.annotations.items() if name not in said}
    spec = {
        **said,
        "service": objective.service,
        "indicator": {"metadata": {"name": objective.name}, "spec": _indicator(objective.indicator)},
        "timeWindow": [_window(objective)],
        "budgetingMethod": _method(objective),
        "objectives": [_target(objective)],
        "alertPolicies": [_policy(alarm) for alarm in objective.alarms] if objective.alarms is not None else None,
    }
    labels = dict(objective.labels)
    metadata = lean({"name": objective.name, "labels": labels, "annotations": annotations})
    return {"apiVersion": "openslo/v1", "kind": "SLO", "metadata": metadata, "spec": lean(spec)}


def data_source(name: str) -> Document:
    """The document that indicators refer to by the name of a Prometheus."""
    metadata, spec = {"name": name}, {"type": "Prometheus"}
    return {"apiVersion": "openslo/v1", "kind": "DataSource", "metadata": metadata, "spec": spec}


def _indicator(indicator: Indicator) -> Document:
    match indicator:
        case Threshold(selector=selector):
            return {"thresholdMetric": _metric(selector)}
        case Ratio(total=total, good=good, bad=bad, sampled=sampled):
            sides = {name: _metric(side) for name, side in (("good", good), ("bad", bad)) if side}
            return {"ratioMetric": {"counter": not sampled, **sides, "total": _metric(total)}}
        case Raw(selector=selector, failure=failure):
            return {"ratioMetric": {"rawType": _raw_type(failure), "raw": _metric(selector)}}
        case QueryRatio(total=query, good=right, bad=wrong, source=source):
            given = {name: _query(side, source) for name, side in (("good", right), ("bad", wrong)) if side is not None}
            return {"ratioMetric": {"counter": True, **given, "total": _query(query, source)}}
        case QueryShare(query=query, failure=failure, source=source):
            return {"ratioMetric": {"rawType": _raw_type(failure), "raw": _query(query, source)}}
        case QueryThreshold(query=query, source=source):
            return {"thresholdMetric": _query(query, source)}
    raise NoWords("indicator", f"{type(indicator).__name__} has no words in OpenSLO")


def _raw_type(failure: bool) -> str:
    return "failure" if failure else "success"


def _metric(selector: Selector) -> Document:
    labels = {name: values[0] if len(values) == 1 else list(values) for name, values in selector.labels.items()}
    return {"metricSource": {"type": "sloctl", "spec": lean({"metric": selector.metric, "labels": labels})}}


def _query(text: str, source: str) -> Document:
    where = {"metricSourceRef": source} if source else {"type": "Prometheus"}
    return {"metricSource": {**where, "spec": {"query": text}}}


def _window(objective: Objective) -> Document:
    calendar = objective.calendar
    if calendar is None:
        return {"duration": shorthand(objective.period_seconds, "period_seconds"), "isRolling": True}
    start = calendar.start.strftime("%Y-%m-%d %H:%M:%S")
    return {
        "duration": f"{calendar.count}{calendar.unit}",
        "calendar": {"startTime": start, "timeZone": calendar.zone},
    }


def _method(objective: Objective) -> str:
    if objective.slices is None:
        return "Occurrences"
    return "Timeslices" if objective.slices.target is not None else "RatioTimeslices"


def _target(objective: Objective) -> Document:
    slices, indicator = objective.slices, objective.indicator
    compared = (
        {"op": indicator.op, "value": indicator.value} if isinstance(indicator, Threshold | QueryThreshold) else {}
    )
    return lean(
        {
            "displayName": objective.display_name,
            **compared,
            "target": objective.target,
            "timeSliceTarget": slices.target if slices else None,
            "timeSliceWindow": shorthand(slices.seconds, "slices") if slices else None,
        }
    )


def _policy(alarm: Alarm) -> Document:
    if alarm.long != alarm.short:
        raise NoWords("alarms", "a condition of OpenSLO has one window")
    condition = {
        "kind": "burnrate",
        "op": "gte" if alarm.at_least else "gt",
        "threshold": alarm.factor,
        "lookbackWindow": shorthand(alarm.long, "alarms"),
        "alertAfter": shorthand(alarm.after, "alarms") if alarm.after else "0m",
    }
    inside = {"severity": alarm.severity, "condition": condition}
    targets = [
        {"kind": "AlertNotificationTarget", "metadata": {"name": target}, "spec": {"target": target}}
        for target in alarm.notify
    ]
    spec = {"conditions": [{"kind": "AlertCondition", "metadata": {"name": alarm.name}, "spec": inside}]}
    whole = {**spec, **lean({"notificationTargets": targets})}
    return {"kind": "AlertPolicy", "metadata": {"name": alarm.name}, "spec": whole}
