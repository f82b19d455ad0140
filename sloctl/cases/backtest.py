"""What the alerts of SLOs would have done over recorded counts, and how that fits the incidents that there were."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sloctl.slo.alerting import AlertStates, Instance, State
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Objective
from sloctl.slo.prometheus import BUDGET_LOW, NO_DATA
from sloctl.slo.tiers import TierAlerts
from sloctl.slo.windows import AlertWindow

_POINTS = 400  # of a chart


@dataclass(frozen=True)
class Record:
    """Cumulative counts of SLOs: `times` in Unix seconds, ascending; `good` and `total` `[times, SLOs]`."""

    objectives: tuple[Objective, ...]
    times: NDArray[np.float64]
    good: NDArray[np.int64]
    total: NDArray[np.int64]


@dataclass(slots=True)
class Episode:
    """An alert from its beginning to its end (None: it still fired); `left` is the share of the budget left then.

    `burn` is the burn rate over the long window when it began, `counted` the good and total events by then. `cost` is
    the share of the budget that went while it fired: what a cure at its beginning would have saved.
    """

    slo: str
    tier: str
    began: float
    burn: float
    left: float
    counted: tuple[float, float]
    ended: float | None = None
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Incident:
    """What really happened, from `start` to `end` in Unix seconds; to one SLO, or to all of them."""

    name: str
    start: float
    end: float
    slo: str | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """An incident and the first alert that told of it, if any."""

    incident: Incident
    episode: Episode | None

    @property
    def delay(self) -> float | None:
        """Seconds from the incident's start to the alert; 0 for one that fired already."""
        return None if self.episode is None else max(self.episode.began - self.incident.start, 0.0)


@dataclass
class Result:
    """All episodes in the order of their beginning, and what was left of each budget over time."""

    episodes: list[Episode] = field(default_factory=list)
    points: list[tuple[float, Mapping[str, float]]] = field(default_factory=list)

    def detections(self, incidents: Iterable[Incident]) -> list[Detection]:
        """Each incident with the first alert that overlaps it."""
        return [
            Detection(incident, next((each for each in self.episodes if _overlap(each, incident)), None))
            for incident in incidents
        ]

    def false(self, incidents: Sequence[Incident]) -> list[Episode]:
        """The alerts that tell of no incident."""
        return [each for each in self.episodes if not any(_overlap(each, incident) for incident in incidents)]


def _overlap(episode: Episode, incident: Incident) -> bool:
    within = episode.began <= incident.end and (episode.ended is None or episode.ended >= incident.start)
    return within and incident.slo in (None, episode.slo)


def backtest(record: Record, windows: Sequence[AlertWindow], step: float) -> Result:
    """Lets the daemon's engine go over a record, with a tick each `step` seconds at least."""
    evaluator = Evaluator(record.objectives, windows)
    alerts, states = TierAlerts(record.objectives, windows, ""), AlertStates()
    result, firing = Result(), dict[tuple[tuple[str, str], ...], Episode]()
    ticks = list(_ticks(record.times, step))
    shown = max(len(ticks) // _POINTS, 1)
    for number, index in enumerate(ticks):
        now = float(record.times[index])
        evaluator.advance(now, record.good[index], record.total[index])
        for changed in states.step(now, alerts.active(evaluator)):
            _take(changed, firing, evaluator, now, result)
        if number % shown == 0 or index == ticks[-1]:
            budgets = {each.name: evaluator.budget_remaining(each.name) for each in record.objectives}
            result.points.append((now, budgets))
    for episode in firing.values():
        episode.cost = _cost(episode, evaluator)
    return result


def _ticks(times: NDArray[np.float64], step: float) -> Iterator[int]:
    due = -np.inf
    for index, moment in enumerate(times.tolist()):
        if moment >= due or index == len(times) - 1:
            due = moment + step
            yield index


def _take(
    changed: Instance,
    firing: dict[tuple[tuple[str, str], ...], Episode],
    evaluator: Evaluator,
    now: float,
    result: Result,
) -> None:
    labels = changed.labels
    if labels["alertname"] in (NO_DATA, BUDGET_LOW):
        return
    slo = labels["sloctl_slo"]
    if changed.state is State.FIRING:
        left, counted = evaluator.budget_remaining(slo), evaluator.counted(slo)
        episode = Episode(slo, labels["sloctl_tier"], now, changed.value, left, counted)
        firing[changed.key] = episode
        result.episodes.append(episode)
    elif changed.key in firing:
        over = firing.pop(changed.key)
        over.ended, over.cost = now, _cost(over, evaluator)


def _cost(episode: Episode, evaluator: Evaluator) -> float:
    """Bad events since it began, over those that the budget allows of the period's events."""
    # Not the difference of what is left: good events that come in, and bad ones that go, would take away from it.
    good, total = (now - then for now, then in zip(evaluator.counted(episode.slo), episode.counted, strict=True))
    period = max(evaluator.period_events(episode.slo), total)  # a calendar's may have begun meanwhile
    return (total - good) / (period * evaluator.objective(episode.slo).budget) if period else 0.0
