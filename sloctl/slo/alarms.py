"""The alerts of an objective: its own, or those of the table, fitted to its period and slices."""

from collections.abc import Sequence

from sloctl.slo.objective import Objective
from sloctl.slo.windows import SHORTEST, Alarm, AlertWindow, for_period


def alarms_of(objective: Objective, table: Sequence[AlertWindow]) -> tuple[Alarm, ...]:
    """The alerts of an objective, in the order of the table or of its policies."""
    if objective.alarms is not None:
        return objective.alarms
    step = objective.slices.seconds if objective.slices else SHORTEST
    kept = [pair for pair in table if objective.tiers.get(pair.severity, True)]
    return tuple(pair.alarm() for pair in for_period(kept, objective.period_seconds, step))


def lengths_of(objective: Objective, alarms: Sequence[Alarm]) -> tuple[float, ...]:
    """The windows of an objective in seconds, ascending: those of its alerts, and its period where that rolls."""
    period = set() if objective.calendar else {objective.period_seconds}
    return tuple(sorted(period | {window for alarm in alarms for window in (alarm.long, alarm.short)}))
