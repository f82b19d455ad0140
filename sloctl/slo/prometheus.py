"""Prometheus recording and alerting rules for the SLOs that the daemon judges in process.

Windows up to an hour are read from the raw series. Longer ones (of gauges, those over five minutes) divide sums of
recorded five-minute increases (of gauges, one-minute) of good and valid events: exact where an average of ratios is
not, without NaN where there was no traffic, and 8,640 points instead of all samples for 30 days. Recorded, each with
`sloctl_slo` and `sloctl_service`:

    sloctl:slo_good:increase5m, sloctl:slo_events:increase5m   counts, every five minutes (1m of gauges)
    sloctl:slo_good:increase, sloctl:slo_events:increase       by `sloctl_window`
    sloctl:slo_error:ratio, sloctl:slo_burn_rate:ratio         by `sloctl_window`
    sloctl:slo_objective:ratio, sloctl:slo_error_budget_remaining:ratio

Of an SLO over time slices each slice is an event, recorded at its end in sloctl:slo_good:slices and
sloctl:slo_events:slices. The budget of a calendar period is the daemon's alone: a range in PromQL cannot begin at
a civil time.

The rules sum over all instances that Prometheus scrapes, so for a fleet they give the fleet's budget.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sloctl.config.base import format_duration
from sloctl.slo.alarms import alarms_of, lengths_of
from sloctl.slo.objective import Objective, Slices, Tier
from sloctl.slo.promql import events, is_sampled, quote
from sloctl.slo.slices import SLACK
from sloctl.slo.windows import RAW_UP_TO, RECORDED, Alarm, AlertWindow

ALERT = "SloctlErrorBudgetBurn"
_STEP, _SAMPLED_STEP = RECORDED, 60.0  # of recorded increases, and of recorded samples of gauges
_RAW_UP_TO, _SAMPLED_UP_TO = RAW_UP_TO, 300.0  # longest range read from the series itself; a sample a second is dear
_SLOWEST = 30.0  # seconds between evaluations

Rule = dict[str, Any]


def rule_groups(objectives: Sequence[Objective], windows: Sequence[AlertWindow]) -> dict[str, Any]:
    """A rule file as plain data: for each SLO a group of what it counts (if needed), and one of ratios and alerts."""
    groups = []
    for objective in objectives:
        alarms = alarms_of(objective, windows)
        longest = objective.slices.seconds if objective.slices else max(lengths_of(objective, alarms), default=0.0)
        if longest > _raw_up_to(objective):
            groups.append(_increases(objective))
        if objective.slices:
            groups.append(_slices(objective, objective.slices))
        groups.append(_ratios(objective, alarms))
    return {"groups": groups}


def to_yaml(objectives: Sequence[Objective], windows: Sequence[AlertWindow]) -> str:
    """The rule file as text, the same for the same input."""
    lengths = [w for o in objectives for w in lengths_of(o, alarms_of(o, windows))]
    # A range needs two samples to show an increase at all; with four, one may be lost.
    scrape = format_duration(max(min(lengths, default=_STEP) / 4, 0.5))
    head = (
        "# Written by `sloctl rules`; change the SLO files and write it anew.\n"
        f"# The shortest window wants a scrape interval of at most {scrape}.\n"
    )
    return f"{head}{dumped(rule_groups(objectives, windows))}"


def dumped(groups: Rule) -> str:
    """A rule file's data as YAML."""
    width = 10_000  # expressions stay on one line
    return yaml.dump(groups, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=width)


def _step(objective: Objective) -> float:
    return _SAMPLED_STEP if is_sampled(objective.indicator) else _STEP


def _raw_up_to(objective: Objective) -> float:
    return _SAMPLED_UP_TO if is_sampled(objective.indicator) else _RAW_UP_TO


def _increases(objective: Objective) -> Rule:
    step = _step(objective)
    good, total = events(objective.indicator, step)
    span = format_duration(step)
    return {
        "name": f"sloctl-slo-increases-{objective.name}",
        "interval": span,
        "rules": [
            _record(f"slo_good:increase{span}", good, objective),
            _record(f"slo_events:increase{span}", total, objective),
        ],
    }


def _slices(objective: Objective, slices: Slices) -> Rule:
    """Each slice as an event, recorded at its end."""
    good, total = _events(objective, slices.seconds)
    g, e = (f"sloctl:slo_slice_{what}:increase{{sloctl_slo={quote(objective.name)}}}" for what in ("good", "events"))
    judged = f"{g} / ({e} > 0)"
    if slices.target is not None:
        judged = f"({judged} > bool {slices.target - SLACK:.12g})"
    return {
        "name": f"sloctl-slo-slices-{objective.name}",
        "interval": format_duration(slices.seconds),
        "rules": [
            _record("slo_slice_good:increase", good, objective),
            _record("slo_slice_events:increase", total, objective),
            _record("slo_good:slices", f"{judged} or 0 * {e}", objective),
            _record("slo_events:slices", f"{e} > bool 0", objective),  # without events a slice is no event
        ],
    }


def _ratios(objective: Objective, alarms: Sequence[Alarm]) -> Rule:
    lengths = lengths_of(objective, alarms)
    rules = [_record("slo_objective:ratio", f"vector({objective.target:.12g})", objective)]
    for window in lengths:
        rules += _window(objective, window)
    if objective.calendar is None:
        spent = _series("slo_burn_rate:ratio", objective, objective.period_seconds)
        rules.append(_record("slo_error_budget_remaining:ratio", f"1 - {spent}", objective))
    rules += [_alert(objective, alarm) for alarm in alarms]
    interval = min(_SLOWEST, max(1.0, lengths[0] // 2)) if lengths else _SLOWEST
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
    """Good and total of a window: of slices where the objective has them, else of its events."""
    return _summed(objective, "slices", window) if objective.slices else _events(objective, window)


def _events(objective: Objective, window: float) -> tuple[str, str]:
    if window <= _raw_up_to(objective):
        return events(objective.indicator, window)
    return _summed(objective, f"increase{format_duration(_step(objective))}", window)


def _summed(objective: Objective, recorded: str, window: float) -> tuple[str, str]:
    # A second less, since Prometheus 2 takes in the point at the very start, which lies outside the window.
    span = f"{{sloctl_slo={quote(objective.name)}}}[{format_duration(window - 1)}]"
    good, total = (f"sum(sum_over_time(sloctl:slo_{what}:{recorded}{span}))" for what in ("good", "events"))
    return good, total


def _alert(objective: Objective, alarm: Alarm) -> Rule:
    factor, exceeds = f"{alarm.factor:.12g}", ">=" if alarm.at_least else ">"
    long, short = (_series("slo_burn_rate:ratio", objective, window) for window in (alarm.long, alarm.short))
    expression = f"{long} {exceeds} {factor}"
    if alarm.short != alarm.long:
        expression += f" and ignoring (sloctl_window) {short} {exceeds} {factor}"
    if alarm.minimum:
        expression += f" and {_series('slo_events:increase', objective, alarm.long)} >= {alarm.minimum}"
    tier = objective.tiers.get(alarm.severity) or Tier()
    ours = {"sloctl_slo": objective.name, "sloctl_pair": alarm.name}
    labels = {"severity": alarm.severity} | dict(tier.labels) | ours
    return {
        "alert": tier.name or ALERT,
        "expr": expression,
        **({"for": format_duration(alarm.after)} if alarm.after else {}),
        "labels": labels | ({"sloctl_notify": ",".join(alarm.notify)} if alarm.notify else {}),
        "annotations": _annotations(objective.annotations)
        | {
            "summary": f"SLO {objective.name} burns its error budget too fast",
            "burn_rate": f'{{{{ printf "%.1f" $value }}}} over {format_duration(alarm.long)} and still going on; '
            f"the limit is {factor}",
        }
        | dict(tier.annotations),
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
    reserved = {"severity", "sloctl_pair", "sloctl_window", "sloctl_notify", *ours}
    return ours | {name: value for name, value in own.items() if name not in reserved}


def _annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    # Annotations are templates to Prometheus and plain text to OpenSLO.
    return {_label_name(name): text.replace("{{", '{{ "{{" }}') for name, text in annotations.items()}


def _label_name(name: str) -> str:
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{clean}" if clean[:1].isdigit() else clean
