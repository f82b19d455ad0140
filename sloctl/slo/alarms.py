"""The alerts of an objective: its own, or those of the table, fitted to its period and slices."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sloctl.slo.objective import Objective, Tier
from sloctl.slo.windows import SHORTEST, Alarm, AlertWindow, for_period


def alarms_of(objective: Objective, table: Sequence[AlertWindow]) -> tuple[Alarm, ...]:
    """The alerts of an objective, in the order of the table or of its policies."""
    alarms = _all(objective, table)
    minimum = objective.minimum_events
    return tuple(replace(alarm, minimum=minimum) for alarm in alarms) if minimum else alarms


def _all(objective: Objective, table: Sequence[AlertWindow]) -> tuple[Alarm, ...]:
    if objective.alarms is not None:
        return objective.alarms
    step = objective.slices.seconds if objective.slices else SHORTEST
    tiers = objective.tiers
    kept = [pair for pair in table if (tier := tiers.get(pair.severity, Tier())) is not None and not tier.windows]
    kept += [pair for tier in tiers.values() if tier is not None for pair in tier.windows]
    return tuple(pair.alarm() for pair in for_period(kept, objective.period_seconds, step))


def grouped(objective: Objective, alarms: Iterable[Alarm]) -> list[tuple[Alarm, ...]]:
    """The alarms that are one alert together: those of a severity, or each alert policy of an objective by itself."""
    groups: dict[str, list[Alarm]] = {}
    for alarm in alarms:
        groups.setdefault(alarm.severity if objective.alarms is None else alarm.name, []).append(alarm)
    return [tuple(group) for group in groups.values()]


def unfirable(objective: Objective, table: Sequence[AlertWindow]) -> str:
    """Why an alert could never fire, whatever happens; empty where all can."""
    return never_fires(objective, alarms_of(objective, table))


def never_fires(objective: Objective, alarms: Iterable[Alarm]) -> str:
    """Why one of these alerts of an objective could never fire; empty where all can."""
    worst = 1 / objective.budget
    never = [alarm for alarm in alarms if not alarm.exceeded(worst)]
    hardest = max(never, key=lambda alarm: alarm.factor, default=None)
    if hardest is None:
        return ""
    what, cure = ("window", "windows with a smaller budget share")
    if objective.alarms is not None:
        what, cure = "policy", "a lower threshold"
    return (
        f"the {hardest.severity} {what} {hardest.name!r} can never fire: with every event bad the budget burns at "
        f"{worst:.3g}, and it takes more than {hardest.factor:.3g}; raise the target above "
        f"{1 - 1 / hardest.factor:.2%}, or use {cure}"
    )


def lengths_of(objective: Objective, alarms: Sequence[Alarm]) -> tuple[float, ...]:
    """The windows of an objective in seconds, ascending: those of its alerts, and its period where that rolls."""
    period = set() if objective.calendar else {objective.period_seconds}
    return tuple(sorted(period | {window for alarm in alarms for window in (alarm.long, alarm.short)}))
