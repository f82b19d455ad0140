"""Prometheus recording and alerting rules for the SLOs that the daemon judges in process.

Windows up to an hour are read from the raw series. Longer ones divide sums of recorded five-minute increases
of good and valid events: exact where an average of ratios is not, without NaN where there was no traffic, and
8,640 points instead of all samples for 30 days. Recorded, each with `sloctl_slo` and `sloctl_service`:

    sloctl:slo_good:increase5m, sloctl:slo_events:increase5m   counts, every five minutes
    sloctl:slo_good:increase, sloctl:slo_events:increase       by `sloctl_window`
    sloctl:slo_error:ratio, sloctl:slo_burn_rate:ratio         by `sloctl_window`
    sloctl:slo_objective:ratio, sloctl:slo_error_budget_remaining:ratio

The rules sum over all instances that Prometheus scrapes, so for a fleet they give the fleet's budget.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sloctl.config.base import format_duration
from sloctl.slo.objective import Objective
from sloctl.slo.promql import events, quote
from sloctl.slo.windows import AlertWindow, for_period

ALERT = "SloctlErrorBudgetBurn"
_STEP = 300.0  # of recorded increases
_RAW_UP_TO = 3600.0
_SLOWEST = 30.0  # seconds between evaluations

Rule = dict[str, Any]


def rule_groups(objectives: Sequence[Objective], windows: Sequence[AlertWindow]) -> dict[str, Any]:
    """A rule file as plain data: for each SLO a group of increases (if needed), and one of ratios and alerts."""
    groups = []
    for objective in objectives:
        pairs = for_period(windows, objective.period_seconds)
        if max(_lengths(objective, pairs)) > _RAW_UP_TO:
            groups.append(_increases(objective))
        groups.append(_ratios(objective, pairs))
    return {"groups": groups}


def to_yaml(objectives: Sequence[Objective], windows: Sequence[AlertWindow]) -> str:
    """The rule file as text, the same for the same input."""
    lengths = [w for o in objectives for w in _lengths(o, for_period(windows, o.period_seconds))]
    # A range needs two samples to show an increase at all; with four, one may be lost.
    scrape = format_duration(max(min(lengths, default=_STEP) / 4, 0.5))
    head = (
        "# Written by `sloctl rules`; change the SLO files and write it anew.\n"
        f"# The shortest window wants a scrape interval of at most {scrape}.\n"
    )
    body = yaml.dump(
        rule_groups(objectives, windows),
        Dumper=yaml.CSafeDumper,
        sort_keys=False,
        allow_unicode=True,
        width=10_000,  # expressions stay on one line
    )
    return f"{head}{body}"


def _lengths(objective: Objective, pairs: Sequence[AlertWindow]) -> list[float]:
    return sorted({objective.period_seconds, *(w for pair in pairs for w in (pair.long, pair.short))})


def _increases(objective: Objective) -> Rule:
    good, total = events(objective.indicator, _STEP)
    return {
        "name": f"sloctl-slo-increases-{objective.name}",
        "interval": format_duration(_STEP),
        "rules": [
            _record("slo_good:increase5m", good, objective),
            _record("slo_events:increase5m", total, objective),
        ],
    }


def _ratios(objective: Objective, pairs: Sequence[AlertWindow]) -> Rule:
    lengths = _lengths(objective, pairs)
    rules = [_record("slo_objective:ratio", f"vector({objective.target:.12g})", objective)]
    for window in lengths:
        rules += _window(objective, window)
    spent = _series("slo_burn_rate:ratio", objective, objective.period_seconds)
    rules.append(_record("slo_error_budget_remaining:ratio", f"1 - {spent}", objective))
    rules += [_alert(objective, pair) for pair in pairs]
    interval = min(_SLOWEST, max(1.0, lengths[0] // 2))
    return {"name": f"sloctl-slo-{objective.name}", "interval": format_duration(interval), "rules": rules}


def _window(objective: Objective, window: float) -> list[Rule]:
    good, total = _counts(objective, window)
    g, e = (_series(f"slo_{what}:increase", objective, window) for what in ("good", "events"))
    error = _series("slo_error:ratio", objective, window)
    return [
        _record("slo_good:increase", good, objective, window),
        _record("slo_events:increase", total, objective, window),
        # Without events the ratio is 0, as it is in process, and not 0/0.
        _record("slo_error:ratio", f"({e} - {g}) / ({e} > 0) or 0 * {e}", objective, window),
        _record("slo_burn_rate:ratio", f"{error} / {objective.budget:.12g}", objective, window),
    ]


def _counts(objective: Objective, window: float) -> tuple[str, str]:
    if window <= _RAW_UP_TO:
        return events(objective.indicator, window)
    # A second less, since Prometheus 2 takes in the point at the very start, which lies outside the window.
    span = f"{{sloctl_slo={quote(objective.name)}}}[{format_duration(window - 1)}]"
    good, total = (f"sum(sum_over_time(sloctl:slo_{what}:increase5m{span}))" for what in ("good", "events"))
    return good, total


def _alert(objective: Objective, pair: AlertWindow) -> Rule:
    factor = f"{pair.factor(objective.period_seconds):.12g}"
    long, short = (_series("slo_burn_rate:ratio", objective, window) for window in (pair.long, pair.short))
    span = format_duration(pair.long)
    return {
        "alert": ALERT,
        "expr": f"{long} > {factor} and ignoring (sloctl_window) {short} > {factor}",
        "labels": {"sloctl_slo": objective.name, "severity": pair.severity, "sloctl_pair": pair.name},
        "annotations": _annotations(objective.annotations)
        | {
            "summary": f"SLO {objective.name} burns its error budget too fast",
            "burn_rate": f'{{{{ printf "%.1f" $value }}}} over {span} and still going on; the limit is {factor}',
        },
    }


def _record(name: str, expr: str, objective: Objective, window: float | None = None) -> Rule:
    labels = _labels(objective)
    if window is not None:
        labels["sloctl_window"] = format_duration(window)
    return {"record": f"sloctl:{name}", "expr": expr, "labels": labels}


def _series(name: str, objective: Objective, window: float) -> str:
    labels = f"sloctl_slo={quote(objective.name)}, sloctl_window={quote(format_duration(window))}"
    return f"sloctl:{name}{{{labels}}}"


def _labels(objective: Objective) -> dict[str, str]:
    # The SLO's own labels come along, and may not take the place of ours.
    own = {_label_name(name): value for name, value in objective.labels.items()}
    ours = {"sloctl_slo": objective.name, "sloctl_service": objective.service}
    reserved = {"severity", "sloctl_pair", "sloctl_window", *ours}
    return ours | {name: value for name, value in own.items() if name not in reserved}


def _annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    # Annotations are templates to Prometheus and plain text to OpenSLO.
    return {_label_name(name): text.replace("{{", '{{ "{{" }}') for name, text in annotations.items()}


def _label_name(name: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{clean}" if clean[:1].isdigit() else clean
