"""Objectives as sloctl's short form, one document for each service."""

from collections.abc import Mapping
from decimal import Decimal

from sloctl.config.base import format_duration
from sloctl.slo.objective import Indicator, Objective, Ratio, Selector, Threshold, Tier
from sloctl.slo.vocabulary import NAMES, Compared, indicator
from sloctl.slo.write.words import Document, NoWords, lean

_SIGNS = {"lte": "<=", "lt": "<", "gte": ">=", "gt": ">"}
_PERIOD = 30 * 86400.0  # where none is said


def document(objective: Objective) -> Document:
    """A document with this objective alone. Raises NoWords."""
    whole, own = _names(objective)
    expression, labels = _expression(objective.indicator)
    rolling = objective.period_seconds
    written = {
        "name": own,
        "sli": expression,
        "target": objective.target,
        "period": format_duration(rolling) if rolling != _PERIOD else None,
        "labels": {name: values[0] if len(values) == 1 else list(values) for name, values in labels.items()},
        "minimumEvents": objective.minimum_events or None,
        "alerts": {severity: _alert(tier) for severity, tier in objective.tiers.items()},
        "description": objective.annotations.get("description", ""),
    }
    return {
        "apiVersion": "sloctl/v1",
        "kind": "ServiceLevel",
        "metadata": lean({"name": whole, "labels": dict(objective.labels)}),
        "spec": lean(
            {"service": objective.service if objective.service != whole else "", "objectives": [lean(written)]}
        ),
    }


def _names(objective: Objective) -> tuple[str, str]:
    """The document's name and the objective's own, which together are its name where that has two parts."""
    for whole, own in (
        (objective.service, objective.name.removeprefix(f"{objective.service}-")),
        tuple(objective.name.partition("-")[::2]),
    ):
        if own and f"{whole}-{own}" == objective.name:
            return whole, own
    return objective.service, objective.name


def _expression(wanted: Indicator) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    if isinstance(wanted, Threshold):
        for name, known in NAMES.items():
            if isinstance(known, Compared) and known.metric.name == wanted.selector.metric:
                number = _number(wanted.value, timed=known.metric.unit == "seconds")
                return f"{name} {_SIGNS[wanted.op]} {number}", wanted.selector.labels
    for name, known in NAMES.items():
        if isinstance(wanted, Ratio) and not isinstance(known, Compared):
            labels = {label: values for label, values in wanted.total.labels.items() if label != known.label}
            if indicator(name, labels) in (wanted, _complement(wanted, known.label)):
                return name, labels
    raise NoWords("indicator", f"the short form has no such indicator; it has {', '.join(NAMES)}")


def _complement(ratio: Ratio, label: str) -> Ratio:
    """The same ratio by its good events, where its bad ones are some values of a label."""
    bad, total = ratio.bad, ratio.total
    if bad is None or bad.metric != total.metric or not label or ratio.sampled:
        return ratio
    values = tuple(value for value in total.labels.get(label, ()) if value not in bad.labels.get(label, ()))
    if {**bad.labels, label: ()} != {**total.labels, label: ()}:
        return ratio
    return Ratio(total, good=Selector(total.metric, {**total.labels, label: values}))


def _number(value: float, *, timed: bool) -> str:
    exact = Decimal(repr(value))
    if timed:
        return f"{_plain(exact * 1000)}ms" if value < 1 else f"{_plain(exact)}s"
    return _plain(exact)


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _alert(tier: Tier | None) -> Document:
    if tier is None:
        return {"disable": True}
    return lean({"name": tier.name, "labels": dict(tier.labels), "annotations": dict(tier.annotations)})
