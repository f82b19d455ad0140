"""The alerts of SLOs as Prometheus' rules have them: one for each SLO and tier, and one that it has no data.

Labels are those of the rules, so that an Alertmanager which hears of an alert from both takes it for one.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from sloctl.slo.alarms import alarms_of, grouped, lengths_of
from sloctl.slo.alerting import Active
from sloctl.slo.evaluate import Evaluator, Exceeded
from sloctl.slo.objective import Objective, Tier
from sloctl.slo.prometheus import ALERT, NO_DATA, alert_labels, description, label_name, slo_labels
from sloctl.slo.templates import humanize_duration, humanize_percentage, rendered
from sloctl.slo.windows import Alarm, AlertWindow


def alert_names(objectives: Iterable[Objective], windows: Sequence[AlertWindow]) -> Iterator[tuple[str, str]]:
    """(alertname, severity) of every alert that there can be."""
    for objective in objectives:
        for alarms in grouped(objective, alarms_of(objective, windows)):
            labels = _named(objective, alarms[0])
            yield labels["alertname"], labels["severity"]
        yield NO_DATA, "ticket"


def tiers_of(objective: Objective, windows: Sequence[AlertWindow]) -> list[str]:
    """The severities of an SLO's alerts."""
    return list(dict.fromkeys(alarm.severity for alarm in alarms_of(objective, windows)))


def active_alerts(
    evaluator: Evaluator, windows: Sequence[AlertWindow], runbooks: str, no_data: Collection[str] = ()
) -> Iterator[Active]:
    """The alerts whose condition holds at this moment. `no_data` names SLOs of which nothing can be said."""
    for exceeded in evaluator.exceeding():
        objective = evaluator.objectives[exceeded.column]
        if objective.name not in no_data:
            yield _burning(evaluator, objective, exceeded, runbooks)
    for objective in evaluator.objectives:
        if objective.name in no_data:
            yield _silent(objective, alarms_of(objective, windows), runbooks)


def _burning(evaluator: Evaluator, objective: Objective, exceeded: Exceeded, runbooks: str) -> Active:
    first = exceeded.alarms[0]
    labels = _named(objective, first)
    tier = objective.tiers.get(first.severity) or Tier()
    own = {label_name(name): text for name, text in objective.annotations.items()}
    left = evaluator.time_to_exhaustion(objective.name, first.short)
    annotations = {
        "summary": f"SLO {objective.name} burns its error budget too fast",
        "description": description(exceeded.alarms),
        "burn_rate": f"{exceeded.burn:.1f}",
        "budget_remaining": humanize_percentage(evaluator.budget_remaining(objective.name)),
        "time_to_exhaustion": humanize_duration(left),
        "runbook_url": f"{runbooks}/{ALERT}.md",
    }
    named = {name: rendered(text, labels, exceeded.burn) for name, text in tier.annotations.items()}
    return Active(labels, own | annotations | named, exceeded.burn, first.after)


def _silent(objective: Objective, alarms: Sequence[Alarm], runbooks: str) -> Active:
    annotations = {
        "summary": f"SLO {objective.name} has no data",
        "description": "Its series are gone, so its budget and its other alerts say nothing.",
        "runbook_url": f"{runbooks}/{NO_DATA}.md",
    }
    labels = slo_labels(objective) | {"alertname": NO_DATA, "severity": "ticket", "sloctl_tier": "ticket"}
    return Active(labels, annotations, 1.0, next(iter(lengths_of(objective, alarms)), 0.0))


def _named(objective: Objective, alarm: Alarm) -> dict[str, str]:
    tier = objective.tiers.get(alarm.severity) or Tier()
    return alert_labels(objective, alarm) | {"alertname": tier.name or ALERT}
