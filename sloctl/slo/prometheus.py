"""Prometheus recording and alerting rules for the SLOs that the daemon judges in process.

Windows up to an hour are read from the raw series. Longer ones (of gauges, those over five minutes) divide sums of
recorded five-minute increases (of gauges, one-minute) of good and valid events: exact where an average of ratios is
not, without NaN where there was no traffic, and 8,640 points instead of all samples for 30 days. Recorded, each with
`sloctl_slo` and `sloctl_service`:

    sloctl:slo_good:increase5m, sloctl:slo_events:increase5m   counts, every five minutes (1m of gauges)
    sloctl:slo_error:ratio, sloctl:slo_burn_rate:ratio         by `sloctl_window`
    sloctl:slo_objective:ratio, sloctl:slo_error_budget_remaining:ratio

Of an SLO with exclusions all is recorded minute by minute, and a minute in which sloctl_slo_excluded was 1 holds no
events. Of an SLO over time slices each slice is an event, recorded at its end in sloctl:slo_good:slices and
sloctl:slo_events:slices. The budget of a calendar period is the daemon's alone: a range in PromQL cannot begin at
a civil time.

Alerts are one rule a severity, its pairs of windows joined by `or`, so that a page stays one alert while another
pair takes over; and one that tells that nothing can be counted. With the SRE workbook's windows that makes at most 17
rules an SLO (one more with slices beyond an hour over a year).

The rules sum over all instances that Prometheus scrapes, so for a fleet they give the fleet's budget.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sloctl.config.base import format_duration
from sloctl.slo.alarms import alarms_of, grouped, lengths_of
from sloctl.slo.objective import BudgetStep, Objective, QueryRatio, Slices, Tier
from sloctl.slo.promql import events, is_sampled, quote
from sloctl.slo.slices import SLACK
from sloctl.slo.windows import RAW_UP_TO, RECORDED, Alarm, AlertWindow

ALERT, NO_DATA, BUDGET_LOW = "SloctlErrorBudgetBurn", "SloctlSloNoData", "SloctlErrorBudgetLow"
RUNBOOKS = "docs/runbooks"  # where the pages of alerts are, if nobody says otherwise
_STEP, _SAMPLED_STEP = RECORDED, 60.0  # of recorded increases, and of recorded samples of gauges
_RAW_UP_TO, _SAMPLED_UP_TO = RAW_UP_TO, 300.0  # longest range read from the series itself; a sample a second is dear
_SLOWEST = 30.0  # seconds between evaluations

Rule = dict[str, Any]


def rule_groups(
    objectives: Sequence[Objective], windows: Sequence[AlertWindow], runbooks: str = RUNBOOKS
) -> dict[str, Any]:
    """A rule file as plain data: for each SLO a group of what it counts (if needed), and one of ratios and alerts.

    `runbooks` is the address of the folder of the alerts' pages.
    """
    groups = []
    for objective in objectives:
        alarms = alarms_of(objective, windows)
        longest = objective.slices.seconds if objective.slices else max(lengths_of(objective, alarms), default=0.0)
        if longest > _raw_up_to(objective):
            groups.append(_increases(objective))
        if objective.slices:
            groups.append(_slices(objective, objective.slices))
        groups.append(_ratios(objective, alarms, runbooks))
    return {"groups": groups}


def to_yaml(objectives: Sequence[Objective], windows: Sequence[AlertWindow], runbooks: str = RUNBOOKS) -> str:
    """The rule file as text, the same for the same input."""
    lengths = [w for o in objectives for w in lengths_of(o, alarms_of(o, windows))]
    # A range needs two samples to show an increase at all; with four, one may be lost.
    scrape = format_duration(max(min(lengths, default=_STEP) / 4, 0.5))
    head = (
        "# Written by `sloctl rules`; change the SLO files and write it anew.\n"
        f"# The shortest window wants a scrape interval of at most {scrape}.\n"
    )
    return f"{head}{dumped(rule_groups(objectives, windows, runbooks))}"


def dumped(groups: Rule) -> str:
    """A rule file's data as YAML."""
    width = 10_000  # expressions stay on one line
    return yaml.dump(groups, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=width)


def _step(objective: Objective) -> float:
    return _SAMPLED_STEP if objective.exclusions or is_sampled(objective.indicator) else _STEP


def _raw_up_to(objective: Objective) -> float:
    if objective.exclusions:
        return _SAMPLED_STEP - 1  # what is left out is left out minute by minute
    return _SAMPLED_UP_TO if is_sampled(objective.indicator) else _RAW_UP_TO


def _read(objective: Objective, window: float) -> tuple[str, str]:
    """Good and valid events from the series themselves; none while the daemon says that they are left out."""
    good, total = events(objective.indicator, window)
    if not objective.exclusions:
        return good, total
    said = f"sloctl_slo_excluded{{slo={quote(objective.name)}}}[{format_duration(window)}]"
    counts = f"* on () ((max(max_over_time({said})) == bool 0) or vector(1))"
    return f"({good}) {counts}", f"({total}) {counts}"


def _increases(objective: Objective) -> Rule:
    step = _step(objective)
    good, total = _read(objective, step)
    if isinstance(objective.indicator, QueryRatio):
        # A query of somebody's may divide by no traffic, and a single NaN would be the sum of all windows that hold it.
        good, total = f"({good}) >= -Inf and ({total}) >= -Inf", f"({total}) >= -Inf and ({good}) >= -Inf"
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
    judged = f"({good}) / ({total} > 0)"
    if slices.target is not None:
        judged = f"({judged} > bool {slices.target - SLACK:.12g})"
    return {
        "name": f"sloctl-slo-slices-{objective.name}",
        "interval": format_duration(slices.seconds),
        "rules": [
            _record("slo_good:slices", f"{judged} or 0 * {total}", objective),
            _record("slo_events:slices", f"{total} > bool 0", objective),  # without events a slice is no event
        ],
    }


def _ratios(objective: Objective, alarms: Sequence[Alarm], runbooks: str) -> Rule:
    lengths = lengths_of(objective, alarms)
    rules = [_record("slo_objective:ratio", f"vector({objective.target:.12g})", objective)]
    rules += [_error(objective, window) for window in lengths]
    every = f"sloctl:slo_error:ratio{{sloctl_slo={quote(objective.name)}}}"
    rules.append(_record("slo_burn_rate:ratio", f"{every} / {objective.budget:.12g}", objective))
    if objective.calendar is None:
        spent = _series("slo_burn_rate:ratio", objective, objective.period_seconds)
        remaining = f"1 - max without (sloctl_window) ({spent})"
        rules.append(_record("slo_error_budget_remaining:ratio", remaining, objective))
    rules += [_alert(objective, same, runbooks) for same in grouped(objective, alarms)]
    if objective.calendar is None:
        rules += [_budget_low(objective, step, runbooks) for step in objective.budget_steps]
    if alarms:
        rules.append(_no_data(objective, lengths[0], runbooks))
    interval = min(_SLOWEST, max(1.0, lengths[0] // 2)) if lengths else _SLOWEST
    return {"name": f"sloctl-slo-{objective.name}", "interval": format_duration(interval), "rules": rules}


def _error(objective: Objective, window: float) -> Rule:
    good, total = _counts(objective, window)
    # Without events the ratio is 0, as it is in process, and not 0/0; no window holds less than this of an event.
    return _record("slo_error:ratio", f"({total} - ({good})) / clamp_min({total}, 1e-9)", objective, window)


def _counts(objective: Objective, window: float) -> tuple[str, str]:
    """Good and total of a window: of slices where the objective has them, else of its events."""
    return _summed(objective, "slices", window) if objective.slices else _events(objective, window)


def _events(objective: Objective, window: float) -> tuple[str, str]:
    if window <= _raw_up_to(objective):
        return _read(objective, window)
    return _summed(objective, f"increase{format_duration(_step(objective))}", window)


def _summed(objective: Objective, recorded: str, window: float) -> tuple[str, str]:
    # A second less, since Prometheus 2 takes in the point at the very start, which lies outside the window.
    span = f"{{sloctl_slo={quote(objective.name)}}}[{format_duration(window - 1)}]"
    good, total = (f"sum(sum_over_time(sloctl:slo_{what}:{recorded}{span}))" for what in ("good", "events"))
    return good, total


def _alert(objective: Objective, alarms: Sequence[Alarm], runbooks: str) -> Rule:
    """One alert of the pairs of a severity; its value is the burn rate over the long window of the first that fires."""
    first = alarms[0]
    tier = objective.tiers.get(first.severity) or Tier()
    return {
        "alert": tier.name or ALERT,
        "expr": " or ".join(_exceeded(objective, alarm) for alarm in alarms),
        **({"for": format_duration(first.after)} if first.after else {}),
        "labels": alert_labels(objective, first),
        "annotations": _annotations(objective.annotations)
        | {
            "summary": f"SLO {objective.name} burns its error budget too fast",
            "description": description(alarms),
            "burn_rate": '{{ printf "%.1f" $value }}',
            **_budget_left(objective, first.short),
            "runbook_url": f"{runbooks}/{ALERT}.md",
        }
        | dict(tier.annotations),
    }


def description(alarms: Sequence[Alarm]) -> str:
    """What is wrong while the alert of these pairs of windows fires."""
    return f"The budget burns {', or '.join(map(_limit, alarms))} as fast as it may."


def _limit(alarm: Alarm) -> str:
    windows = " and ".join(dict.fromkeys(format_duration(window) for window in (alarm.long, alarm.short)))
    return f"over {windows} {'at least' if alarm.at_least else 'more than'} {alarm.factor:.12g} times"


def _budget_left(objective: Objective, present: float) -> dict[str, str]:
    """What is left, and how long it lasts at the burn rate over the window `present`. Nothing of calendar periods."""
    if objective.calendar is not None:
        return {}
    left = f"sloctl:slo_error_budget_remaining:ratio{{sloctl_slo={quote(objective.name)}}}"
    burn = _series("slo_burn_rate:ratio", objective, present)
    seconds = f"clamp_min({left}, 0) * {objective.period_seconds:.12g} / ignoring (sloctl_window) ({burn} > 0)"
    return {
        "budget_remaining": _first(left, "humanizePercentage"),
        "time_to_exhaustion": _first(seconds, "humanizeDuration"),
    }


def _first(expression: str, shown: str) -> str:
    return f"{{{{ with query `{expression}` }}}}{{{{ . | first | value | {shown} }}}}{{{{ end }}}}"


def _budget_low(objective: Objective, step: BudgetStep, runbooks: str) -> Rule:
    left = f"sloctl:slo_error_budget_remaining:ratio{{sloctl_slo={quote(objective.name)}}}"
    return {
        "alert": BUDGET_LOW,
        "expr": f"{left} < {step.below:.12g}",
        "for": "1m",
        "labels": step_labels(objective, step),
        "annotations": step_annotations(objective, step, runbooks)
        | {"budget_remaining": "{{ $value | humanizePercentage }}"},
    }


def step_labels(objective: Objective, step: BudgetStep) -> dict[str, str]:
    """The labels of a budget step's alert but its name."""
    return slo_labels(objective) | {"severity": step.severity, "sloctl_tier": step.severity, "sloctl_step": step.name}


def step_annotations(objective: Objective, step: BudgetStep, runbooks: str) -> dict[str, str]:
    """Its annotations but what is left, as plain text."""
    return {
        "summary": f"SLO {objective.name} has less than {step.below:.4g} of its error budget left",
        "description": step.message.replace("{{", '{{ "{{" }}'),
        "runbook_url": f"{runbooks}/{BUDGET_LOW}.md",
    }


def _no_data(objective: Objective, shortest: float, runbooks: str) -> Rule:
    recorded = _series("slo_error:ratio", objective, shortest)
    return {
        "alert": NO_DATA,
        "expr": f"max without (sloctl_window) (absent({recorded}))",
        "for": format_duration(shortest),
        "labels": slo_labels(objective) | {"severity": "ticket", "sloctl_tier": "ticket"},
        "annotations": {
            "summary": f"SLO {objective.name} has no data",
            "description": "Its series are gone, so its budget and its other alerts say nothing.",
            "runbook_url": f"{runbooks}/{NO_DATA}.md",
        },
    }


def _exceeded(objective: Objective, alarm: Alarm) -> str:
    factor, exceeds = f"{alarm.factor:.12g}", ">=" if alarm.at_least else ">"
    both = dict.fromkeys((alarm.long, alarm.short))
    series = (_series("slo_burn_rate:ratio", objective, window) for window in both)
    parts = [f"max without (sloctl_window) ({burn}) {exceeds} {factor}" for burn in series]
    if alarm.minimum:
        parts.append(f"on () {_counts(objective, alarm.long)[1]} >= {alarm.minimum}")
    return " and ".join(parts)


def _record(name: str, expr: str, objective: Objective, window: float | None = None) -> Rule:
    labels = slo_labels(objective)
    if window is not None:
        labels["sloctl_window"] = format_duration(window)
    return {"record": f"sloctl:{name}", "expr": expr, "labels": labels}


def _series(name: str, objective: Objective, window: float) -> str:
    labels = f"sloctl_slo={quote(objective.name)}, sloctl_window={quote(format_duration(window))}"
    return f"sloctl:{name}{{{labels}}}"


def alert_labels(objective: Objective, alarm: Alarm) -> dict[str, str]:
    """The labels of an alert but its name; the same in Prometheus and from the daemon, so that they are one alert."""
    tier = objective.tiers.get(alarm.severity) or Tier()
    ours = {"sloctl_tier": alarm.severity}
    if objective.alarms is not None:
        ours["sloctl_policy"] = alarm.name
    notify = {"sloctl_notify": ",".join(alarm.notify)} if alarm.notify else {}
    return slo_labels(objective) | {"severity": alarm.severity} | dict(tier.labels) | ours | notify


def slo_labels(objective: Objective) -> dict[str, str]:
    """The labels of whatever is about an SLO."""
    # The SLO's own labels come along, and may not take the place of ours.
    own = {label_name(name): value for name, value in objective.labels.items()}
    ours = {"sloctl_slo": objective.name, "sloctl_service": objective.service}
    reserved = {"severity", "sloctl_tier", "sloctl_policy", "sloctl_window", "sloctl_notify", *ours}
    return ours | {name: value for name, value in own.items() if name not in reserved}


def _annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    # Annotations are templates to Prometheus and plain text to OpenSLO.
    return {label_name(name): text.replace("{{", '{{ "{{" }}') for name, text in annotations.items()}


def label_name(name: str) -> str:
    """A name as Prometheus takes it for a label."""
    clean = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{clean}" if clean[:1].isdigit() else clean
