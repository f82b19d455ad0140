"""The alerts of SLOs as Prometheus' rules have them: one for each SLO and tier, and one that it has no data.

Labels are those of the rules, so that an Alertmanager which hears of an alert from both takes it for one.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sloctl.slo.alarms import alarms_of, grouped, lengths_of
from sloctl.slo.alerting import Active
from sloctl.slo.evaluate import Evaluator, Exceeded
from sloctl.slo.objective import Objective, Tier
from sloctl.slo.prometheus import (
    ALERT,
    BUDGET_LOW,
    NO_DATA,
    alert_labels,
    description,
    label_name,
    slo_labels,
    step_annotations,
    step_labels,
)
from sloctl.slo.templates import humanize_duration, humanize_percentage, rendered
from sloctl.slo.windows import Alarm, AlertWindow

_BUDGET_HOLD = 60.0  # seconds; as in the rules


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What never changes of an alert while its SLO does not."""

    labels: Mapping[str, str]
    before: Mapping[str, str]  # annotations, in the order in which the later one counts
    after: Mapping[str, str]
    templates: Mapping[str, str]


class TierAlerts:
    """The alerts of these SLOs. `runbooks` is the folder of the alerts' pages."""

    def __init__(self, objectives: Sequence[Objective], windows: Sequence[AlertWindow], runbooks: str) -> None:
        self._objectives = objectives
        self._windows = windows
        self._runbooks = runbooks
        self._fixed: dict[tuple[int, str], _Fixed] = {}
        self._stepped = [objective for objective in objectives if objective.budget_steps]

    def names(self) -> Iterator[tuple[str, str]]:
        """(alertname, severity) of every alert that there can be."""
        for objective in self._objectives:
            for alarms in grouped(objective, alarms_of(objective, self._windows)):
                labels = _named(objective, alarms[0])
                yield labels["alertname"], labels["severity"]
            yield NO_DATA, "ticket"
            for step in objective.budget_steps:
                yield BUDGET_LOW, step.severity

    def tiers(self) -> list[tuple[str, str]]:
        """Every SLO with each severity of its alerts."""
        pairs = ((each.name, alarm.severity) for each in self._objectives for alarm in alarms_of(each, self._windows))
        return list(dict.fromkeys(pairs))

    def active(self, evaluator: Evaluator, no_data: Collection[str] = ()) -> Iterator[Active]:
        """The alerts whose condition holds at this moment. `no_data` names SLOs of which nothing can be said."""
        for exceeded in evaluator.exceeding():
            if self._objectives[exceeded.column].name not in no_data:
                yield self._burning(evaluator, exceeded)
        for objective in self._objectives if no_data else ():
            if objective.name in no_data:
                yield self._silent(objective)
        for objective in self._stepped:
            if objective.name not in no_data:
                yield from self._spent(evaluator, objective)

    def _burning(self, evaluator: Evaluator, exceeded: Exceeded) -> Active:
        first, name = exceeded.alarms[0], self._objectives[exceeded.column].name
        fixed = self._fixed.get((exceeded.column, first.name))
        if fixed is None:
            fixed = self._fixed[exceeded.column, first.name] = self._fix(exceeded)
        annotations = {
            **fixed.before,
            "burn_rate": f"{exceeded.burn:.1f}",
            "budget_remaining": humanize_percentage(evaluator.budget_remaining(name)),
            "time_to_exhaustion": humanize_duration(evaluator.time_to_exhaustion(name, first.short)),
            **fixed.after,
        }
        for key, text in fixed.templates.items():
            annotations[key] = rendered(text, fixed.labels, exceeded.burn)
        return Active(fixed.labels, annotations, exceeded.burn, first.after)

    def _fix(self, exceeded: Exceeded) -> _Fixed:
        objective, first = self._objectives[exceeded.column], exceeded.alarms[0]
        tier = objective.tiers.get(first.severity) or Tier()
        before = {label_name(name): text for name, text in objective.annotations.items()} | {
            "summary": f"SLO {objective.name} burns its error budget too fast",
            "description": description(exceeded.alarms),
        }
        after = {"runbook_url": f"{self._runbooks}/{ALERT}.md"}
        return _Fixed(_named(objective, first), before, after, tier.annotations)

    def _spent(self, evaluator: Evaluator, objective: Objective) -> Iterator[Active]:
        left = evaluator.budget_remaining(objective.name)
        for step in objective.budget_steps:
            if left < step.below:
                labels = step_labels(objective, step) | {"alertname": BUDGET_LOW}
                said = step_annotations(objective, step, self._runbooks) | {"description": step.message}
                yield Active(labels, said | {"budget_remaining": humanize_percentage(left)}, left, _BUDGET_HOLD)

    def _silent(self, objective: Objective) -> Active:
        annotations = {
            "summary": f"SLO {objective.name} has no data",
            "description": "Its series are gone, so its budget and its other alerts say nothing.",
            "runbook_url": f"{self._runbooks}/{NO_DATA}.md",
        }
        labels = slo_labels(objective) | {"alertname": NO_DATA, "severity": "ticket", "sloctl_tier": "ticket"}
        lengths = lengths_of(objective, alarms_of(objective, self._windows))
        return Active(labels, annotations, 1.0, next(iter(lengths), 0.0))


def _named(objective: Objective, alarm: Alarm) -> dict[str, str]:
    tier = objective.tiers.get(alarm.severity) or Tier()
    return alert_labels(objective, alarm) | {"alertname": tier.name or ALERT}
