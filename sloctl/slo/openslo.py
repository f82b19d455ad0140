"""OpenSLO documents: into objectives, and what is wrong with them beyond their form."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from sloctl.slo.alarms import unfirable
from sloctl.slo.objective import (
    Indicator,
    Objective,
    QueryRatio,
    QueryShare,
    QueryThreshold,
    Ratio,
    Raw,
    Selector,
    Slices,
    Threshold,
    thresholds,
)
from sloctl.slo.openslo_model import (
    IndicatorSpec,
    Metric,
    MetricSpec,
    PolicyItem,
    RatioMetric,
    SloDocument,
    SloObjective,
)
from sloctl.slo.promql import WINDOW
from sloctl.slo.windows import Alarm, AlertWindow
from sloctl.telemetry.buckets import LARGEST, SMALLEST, in_range
from sloctl.telemetry.catalogue import (
    BATCH_BOUNDS,
    BREAKER_STATES,
    HEALTH_LEVELS,
    OUTCOMES,
    SLO_GAUGES,
    Kind,
    Plane,
    all_metrics,
    find,
)

__all__ = ["Problem", "SloDocument", "check", "check_indicator", "objectives", "thresholds"]

Loc = tuple[str | int, ...]
Problem = tuple[Loc, str]
"""Where in the document, by the names in the YAML, and what is wrong there, what was expected."""

_METRIC: Loc = ("metricSource", "spec")
_VALUES = {"outcome": OUTCOMES, "state": BREAKER_STATES, "level": HEALTH_LEVELS}


def objectives(document: SloDocument) -> tuple[Objective, ...]:
    """The objectives of a document without references that `check` finds nothing wrong with.

    One objective has the SLO's name; of several each adds its display name, or else its index.
    """
    spec, metadata = document.spec, document.metadata
    return tuple(
        Objective(
            name=name,
            service=spec.service,
            display_name=objective.display_name or metadata.display_name or name,
            indicator=_indicator(document, objective),
            target=objective.share,
            period_seconds=spec.time_window[0].seconds,
            labels=_joined(metadata.labels),
            annotations={"description": spec.description, **metadata.annotations}
            if spec.description
            else metadata.annotations,
            calendar=spec.time_window[0].periods,
            slices=_slices(objective),
            alarms=tuple(_alarm(item, index) for index, item in enumerate(spec.alert_policies))
            if spec.alert_policies is not None
            else None,
        )
        for name, objective in zip(names(document), spec.objectives, strict=True)
    )


def names(document: SloDocument) -> list[str]:
    """Names of a document's objectives, in order."""
    base, several = document.metadata.name, document.spec.objectives
    if len(several) == 1:
        return [base]
    slugs = (re.sub(r"[^a-z0-9.]+", "-", o.display_name.lower()).strip("-.") for o in several)
    return [f"{base}-{slug or index}" for index, slug in enumerate(slugs)]


def _slices(objective: SloObjective) -> Slices | None:
    if objective.time_slice_window is None:
        return None
    return Slices(objective.time_slice_window, objective.time_slice_target)


def _alarm(item: PolicyItem, index: int) -> Alarm:
    policy = item.spec
    condition = policy.conditions[0].spec if policy else None
    if policy is None or condition is None:
        raise ValueError("a policy without references")  # they have been resolved
    name = item.metadata.name if item.metadata else f"policy-{index}"
    burn = condition.condition
    return Alarm(
        name=name,
        severity=condition.severity,
        factor=burn.threshold,
        long=burn.lookback,
        short=burn.lookback,
        after=burn.after,
        at_least=burn.op == "gte",
        notify=tuple(target.name for target in policy.notification_targets),
    )


def _indicator(document: SloDocument, objective: SloObjective) -> Indicator:
    spec = _spec_of(document)
    if spec.ratio_metric is not None:
        return _ratio(spec.ratio_metric)
    if spec.threshold_metric is None or objective.op is None or objective.value is None:
        raise ValueError("a threshold needs its metric, op and value")  # check has seen to it
    metric = spec.threshold_metric
    query = metric.metric_source.spec.query
    if query is not None:
        return QueryThreshold(query, objective.op, objective.value, _source(metric))
    return Threshold(_selector(metric), objective.op, objective.value)


def _source(metric: Metric) -> str:
    return metric.metric_source.metric_source_ref or ""


def _spec_of(document: SloDocument) -> IndicatorSpec:
    if document.spec.indicator is None:
        raise ValueError("an SLO without references")  # they have been resolved
    return document.spec.indicator.spec


def _ratio(ratio: RatioMetric) -> Indicator:
    if ratio.raw is not None:
        query, failure = ratio.raw.metric_source.spec.query, ratio.raw_type == "failure"
        if query is not None:
            return QueryShare(query, failure, _source(ratio.raw))
        return Raw(_selector(ratio.raw), failure)
    sides = {name: side for name, side in _sides(ratio) if side is not None}
    queries = {name: side.metric_source.spec.query for name, side in sides.items()}
    if all(query is not None for query in queries.values()):
        named = {name: query for name, query in queries.items() if query is not None}
        return QueryRatio(**named, source=_source(next(iter(sides.values()))))
    return Ratio(**{name: _selector(side) for name, side in sides.items()}, sampled=not ratio.counter)


def _sides(ratio: RatioMetric) -> tuple[tuple[str, Metric | None], ...]:
    return ("good", ratio.good), ("bad", ratio.bad), ("total", ratio.total)


def _selector(metric: Metric) -> Selector:
    spec = metric.metric_source.spec
    labels = {k: (v,) if isinstance(v, str) else tuple(dict.fromkeys(v)) for k, v in spec.labels.items()}
    return Selector(spec.metric or "", labels)


def _joined(labels: Mapping[str, str | list[str]]) -> dict[str, str]:
    return {k: v if isinstance(v, str) else ",".join(v) for k, v in labels.items()}


def check(document: SloDocument, windows: Sequence[AlertWindow] = (), *, whole: bool = True) -> list[Problem]:
    """What is wrong with a document that fits the format; with `windows`, also targets that cannot alert.

    Of one that is not `whole`, since fields were left out, what is missing is no problem.
    """
    spec = _spec_of(document)
    wrong = list(check_indicator(spec, ("spec", "indicator", "spec")))
    usable = not wrong
    # An indicator that is named has its problems in its own document.
    found = wrong if document.spec.indicator_ref is None else []
    if whole:
        found += [*_compared_problems(document, spec), *_slice_problems(document)]
    if usable and not found and spec.threshold_metric is not None:
        found += _value_problems(document, spec.threshold_metric.metric_source.spec)
    found += _name_problems(document)
    return found if found or not whole else [*_target_problems(document, windows)]


def check_indicator(spec: IndicatorSpec, at: Loc = ("spec",)) -> Iterator[Problem]:
    """What is wrong with an indicator, which lies at `at` in its document."""
    if spec.ratio_metric is not None:
        yield from _ratio_problems((*at, "ratioMetric"), spec.ratio_metric)
    if spec.threshold_metric is not None:
        there, source = (*at, "thresholdMetric", *_METRIC), spec.threshold_metric.metric_source.spec
        if source.query is not None:
            return  # any query that gives numbers will do
        yield from _series_problems(there, source)
        yield from _threshold_kind_problems((*there, "metric"), source)


def _compared_problems(document: SloDocument, spec: IndicatorSpec) -> Iterator[Problem]:
    threshold = spec.threshold_metric is not None
    for index, objective in enumerate(document.spec.objectives):
        given, at = {objective.op is not None, objective.value is not None}, ("spec", "objectives", index)
        if threshold and given != {True}:
            yield at, "the indicator is a thresholdMetric; expected op and value"
        if not threshold and given != {False}:
            yield at, "the indicator is a ratioMetric; expected no op or value"


def _slice_problems(document: SloDocument) -> Iterator[Problem]:
    method, period = document.spec.budgeting_method, document.spec.time_window[0].seconds
    wanted = {"Occurrences": (), "Timeslices": ("timeSliceWindow", "timeSliceTarget")}.get(method, ("timeSliceWindow",))
    for index, objective in enumerate(document.spec.objectives):
        at: Loc = ("spec", "objectives", index)
        given = {"timeSliceTarget": objective.time_slice_target, "timeSliceWindow": objective.time_slice_window}
        for field, value in given.items():
            if value is None and field in wanted:
                yield at, f"{method} without {field}; expected {field}: …"
            if value is not None and field not in wanted:
                yield (*at, field), f"{field} does not belong to {method}; expected {_METHODS[field]}"
        if objective.time_slice_window is not None and objective.time_slice_window > period:
            yield (*at, "timeSliceWindow"), "a slice is longer than the period; expected many slices in a period"


_METHODS = {"timeSliceTarget": "budgetingMethod: Timeslices", "timeSliceWindow": "Timeslices or RatioTimeslices"}


def _ratio_problems(at: Loc, ratio: RatioMetric) -> Iterator[Problem]:
    if ratio.raw is not None:
        yield from _raw_problems((*at, "raw", *_METRIC), ratio.raw.metric_source.spec)
        return
    given = [(name, side) for name, side in _sides(ratio) if side is not None]
    if any(side.metric_source.spec.query is not None for _, side in given):
        yield from _query_problems(at, given)
        return
    found: list[Problem] = []
    for name, side in given:
        source, there = side.metric_source.spec, (*at, name, *_METRIC)
        found += _series_problems(there, source)
        found += (_counter_problems if ratio.counter else _count_problems)((*there, "metric"), source)
    yield from found
    part = ratio.good or ratio.bad
    if part is not None and ratio.total is not None and not found:
        name = "good" if ratio.good else "bad"
        yield from _subset_problems((*at, name, *_METRIC), name, _selector(part), _selector(ratio.total))


def _raw_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    if source.query is not None:
        yield from _template_problems((*at, "query"), source.query)
        return
    yield from _series_problems(at, source)
    metric = find(source.metric or "")
    if metric is not None and (metric.kind is not Kind.GAUGE or metric.unit != "ratio"):
        yield (*at, "metric"), f"{metric.name} is no ratio; expected a gauge such as sloctl_throughput_peak_ratio"
    else:
        yield from _gauge_problems((*at, "metric"), source)


def _query_problems(at: Loc, given: list[tuple[str, Metric]]) -> Iterator[Problem]:
    for name, side in given:
        query, there = side.metric_source.spec.query, (*at, name, *_METRIC)
        if query is None:
            yield (*there, "metric"), "one side is a query, this one is not; expected queries or metrics on both"
        else:
            yield from _template_problems((*there, "query"), query)
    sources = {_source(side) for _, side in given}
    if len(sources) > 1:
        yield (*at, given[-1][0], *_METRIC[:1], "metricSourceRef"), "good, bad and total come from different sources"


def _template_problems(at: Loc, query: str) -> Iterator[Problem]:
    if not WINDOW.search(query):
        yield at, "the query has no {{.window}}; expected one such as sum(rate(http_requests_total[{{.window}}]))"


def _series_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric or "")
    if metric is None:
        known = [metric.name for metric in all_metrics()]
        yield (*at, "metric"), f"unknown metric {source.metric!r}{_meant(source.metric or '', known)}"
        return
    for label, given in source.labels.items():
        if label not in metric.labels:
            has = ", ".join(metric.labels) or "none"
            yield (*at, "labels", label), f"{metric.name} has no label {label!r}; it has {has}"
        for value in [given] if isinstance(given, str) else given:
            if value not in _VALUES.get(label, (value,)):
                expected = ", ".join(_VALUES[label])
                yield (*at, "labels", label), f"{label} is never {value!r}; expected one of {expected}"


def _gauge_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric or "")
    if metric is not None and metric.plane is Plane.CONTROL and metric not in SLO_GAUGES:
        expected = ", ".join(gauge.name for gauge in SLO_GAUGES)
        yield at, f"{metric.name} is not sampled for SLOs; expected a gauge of the data plane, or one of {expected}"


def _counter_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric or "")
    if metric is None:
        return
    if metric.kind is not Kind.COUNTER:
        hint = "; for latency use a thresholdMetric" if metric.kind is Kind.HISTOGRAM else ""
        yield at, f"{metric.name} is a {metric.kind}; a ratioMetric takes counters{hint}"
    elif metric.plane is not Plane.DATA or metric.unit != "1":
        yield at, f"{metric.name} does not count events of the data plane; expected one such as sloctl_requests_total"


def _count_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric or "")
    if metric is not None and (metric.kind is not Kind.GAUGE or metric.unit != "1"):
        yield at, f"{metric.name} does not count at a moment; with counter: false expected a gauge of unit 1"
    else:
        yield from _gauge_problems(at, source)


def _threshold_kind_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric or "")
    if metric is not None and metric.kind not in (Kind.HISTOGRAM, Kind.GAUGE):
        hint = "; for counters use a ratioMetric" if metric.kind is Kind.COUNTER else ""
        yield at, f"{metric.name} is a {metric.kind}; a thresholdMetric takes a histogram or a gauge{hint}"
    else:
        yield from _gauge_problems(at, source)


def _value_problems(document: SloDocument, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric or "")
    if metric is None or metric.kind is not Kind.HISTOGRAM:
        return
    for index, objective in enumerate(document.spec.objectives):
        at, value = ("spec", "objectives", index, "value"), objective.value or 0.0
        if metric.unit == "seconds" and not in_range(value):
            meant = f" (for {value:g} ms write {value / 1000:g})" if in_range(value / 1000) else ""
            yield at, f"{value:g} s is outside the histogram, {SMALLEST:g} s to {LARGEST:g} s{meant}"
        if metric.unit != "seconds" and value not in BATCH_BOUNDS:
            bounds = ", ".join(f"{bound:g}" for bound in BATCH_BOUNDS)
            yield at, f"{value:g} is no bound of {metric.name}; expected one of {bounds}"


def _subset_problems(at: Loc, name: str, part: Selector, total: Selector) -> Iterator[Problem]:
    if part.metric != total.metric:
        return
    for label, counted in total.labels.items():
        chosen = part.labels.get(label)
        if chosen is None:
            yield (*at, "labels"), f"{name} has any {label}, total only {', '.join(counted)}: name them here too"
        elif extra := [value for value in chosen if value not in counted]:
            yield (*at, "labels", label), f"{name} counts {label} {', '.join(extra)}, which total leaves out"


def _name_problems(document: SloDocument) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, name in enumerate(names(document)):
        if name in seen:
            yield ("spec", "objectives", index), f"two objectives are named {name!r}; give each its displayName"
        seen.add(name)


def _target_problems(document: SloDocument, windows: Sequence[AlertWindow]) -> Iterator[Problem]:
    for index, objective in enumerate(objectives(document)):
        written = document.spec.objectives[index]
        if message := unfirable(objective, windows):
            field = "target" if written.target is not None else "targetPercent"
            yield ("spec", "objectives", index, field), message
        for place, alarm in enumerate(objective.alarms or ()):
            if objective.slices and alarm.long < objective.slices.seconds:
                message = f"{alarm.name!r} looks back over less than one time slice; expected at least one"
                yield ("spec", "alertPolicies", place), message


def _meant(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
