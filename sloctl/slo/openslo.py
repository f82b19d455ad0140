"""OpenSLO documents: into objectives, and what is wrong with them beyond their form."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from sloctl.slo.objective import Indicator, Objective, Ratio, Selector, Threshold, thresholds
from sloctl.slo.openslo_model import Metric, MetricSpec, RatioMetric, SloDocument, SloObjective
from sloctl.slo.windows import AlertWindow, for_period
from sloctl.telemetry.buckets import LARGEST, SMALLEST, in_range
from sloctl.telemetry.catalogue import (
    BATCH_BOUNDS,
    BREAKER_STATES,
    HEALTH_LEVELS,
    OUTCOMES,
    Kind,
    Plane,
    all_metrics,
    find,
)

__all__ = ["Problem", "SloDocument", "check", "objectives", "thresholds"]

Loc = tuple[str | int, ...]
Problem = tuple[Loc, str]
"""Where in the document, by the names in the YAML, and what is wrong there, what was expected."""

_METRIC: Loc = ("metricSource", "spec")
_VALUES = {"outcome": OUTCOMES, "state": BREAKER_STATES, "level": HEALTH_LEVELS}


def objectives(document: SloDocument) -> tuple[Objective, ...]:
    """The objectives of a document that `check` finds nothing wrong with.

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
            period_seconds=spec.time_window[0].duration,
            labels=_joined(metadata.labels),
            annotations={"description": spec.description, **metadata.annotations}
            if spec.description
            else metadata.annotations,
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


def _indicator(document: SloDocument, objective: SloObjective) -> Indicator:
    spec = document.spec.indicator.spec
    if spec.ratio_metric is not None:
        ratio = spec.ratio_metric
        good, bad = (_selector(side) if side else None for side in (ratio.good, ratio.bad))
        return Ratio(_selector(ratio.total), good, bad)
    if spec.threshold_metric is None or objective.op is None or objective.value is None:
        raise ValueError("a threshold needs its metric, op and value")  # the models have seen to it
    return Threshold(_selector(spec.threshold_metric), objective.op, objective.value)


def _selector(metric: Metric) -> Selector:
    spec = metric.metric_source.spec
    labels = {k: (v,) if isinstance(v, str) else tuple(dict.fromkeys(v)) for k, v in spec.labels.items()}
    return Selector(spec.metric, labels)


def _joined(labels: Mapping[str, str | list[str]]) -> dict[str, str]:
    return {k: v if isinstance(v, str) else ",".join(v) for k, v in labels.items()}


def check(document: SloDocument, windows: Sequence[AlertWindow] = ()) -> list[Problem]:
    """What is wrong with a document that fits the format; with `windows`, also targets that cannot alert."""
    return [*_indicator_problems(document), *_name_problems(document), *_target_problems(document, windows)]


def _indicator_problems(document: SloDocument) -> Iterator[Problem]:
    at: Loc = ("spec", "indicator", "spec")
    spec = document.spec.indicator.spec
    if spec.ratio_metric is not None:
        yield from _ratio_problems((*at, "ratioMetric"), spec.ratio_metric)
    if spec.threshold_metric is not None:
        source = spec.threshold_metric.metric_source.spec
        found = list(_series_problems((*at, "thresholdMetric", *_METRIC), source))
        found += _threshold_kind_problems((*at, "thresholdMetric", *_METRIC, "metric"), source)
        yield from found
        if not found:
            yield from _value_problems(document, source)


def _ratio_problems(at: Loc, ratio: RatioMetric) -> Iterator[Problem]:
    found: list[Problem] = []
    for name, side in (("good", ratio.good), ("bad", ratio.bad), ("total", ratio.total)):
        if side is not None:
            source, there = side.metric_source.spec, (*at, name, *_METRIC)
            found += _series_problems(there, source)
            found += _counter_problems((*there, "metric"), source)
    yield from found
    part = ratio.good or ratio.bad
    if part is not None and not found:
        name = "good" if ratio.good else "bad"
        yield from _subset_problems((*at, name, *_METRIC), name, _selector(part), _selector(ratio.total))


def _series_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric)
    if metric is None:
        known = [metric.name for metric in all_metrics()]
        yield (*at, "metric"), f"unknown metric {source.metric!r}{_meant(source.metric, known)}"
        return
    for label, given in source.labels.items():
        if label not in metric.labels:
            has = ", ".join(metric.labels) or "none"
            yield (*at, "labels", label), f"{metric.name} has no label {label!r}; it has {has}"
        for value in [given] if isinstance(given, str) else given:
            if value not in _VALUES.get(label, (value,)):
                expected = ", ".join(_VALUES[label])
                yield (*at, "labels", label), f"{label} is never {value!r}; expected one of {expected}"


def _counter_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric)
    if metric is None:
        return
    if metric.kind is not Kind.COUNTER:
        hint = "; for latency use a thresholdMetric" if metric.kind is Kind.HISTOGRAM else ""
        yield at, f"{metric.name} is a {metric.kind}; a ratioMetric takes counters{hint}"
    elif metric.plane is not Plane.DATA or metric.unit != "1":
        yield at, f"{metric.name} does not count events of the data plane; expected one such as sloctl_requests_total"


def _threshold_kind_problems(at: Loc, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric)
    if metric is not None and metric.kind not in (Kind.HISTOGRAM, Kind.GAUGE):
        hint = "; for counters use a ratioMetric" if metric.kind is Kind.COUNTER else ""
        yield at, f"{metric.name} is a {metric.kind}; a thresholdMetric takes a histogram or a gauge{hint}"


def _value_problems(document: SloDocument, source: MetricSpec) -> Iterator[Problem]:
    metric = find(source.metric)
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
        pairs = for_period(windows, objective.period_seconds)
        hardest = max(pairs, key=lambda pair: pair.factor(objective.period_seconds), default=None)
        if hardest is None:
            continue
        factor, worst = hardest.factor(objective.period_seconds), 1 / objective.budget
        if worst <= factor:
            written = document.spec.objectives[index]
            field = "target" if written.target is not None else "targetPercent"
            yield (
                ("spec", "objectives", index, field),
                f"the {hardest.severity} window {hardest.name!r} can never fire: with every event bad the budget "
                f"burns at {worst:.3g}, and it takes more than {factor:.3g}; raise the target above "
                f"{1 - 1 / factor:.2%}, or use windows with a smaller budget share",
            )


def _meant(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
