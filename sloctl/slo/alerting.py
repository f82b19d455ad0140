"""Alerts as Prometheus has them: instances by their labels, pending for a while, firing, resolved.

    inactive → pending   its condition holds
    pending  → firing    it has held for as long as it must
    pending  → inactive  it holds no more; nobody was told
    firing   → resolved  it holds no more; kept for `RETENTION`, so that whoever missed it is told again

(rules/alerting.go of Prometheus.) An alert over an SLO without data is frozen: it neither fires nor resolves. One that
was pending is inactive, since nobody knows whether its condition held meanwhile.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

RETENTION = 900.0  # seconds for which a resolved alert is kept
SLO_LABEL = "sloctl_slo"

Labels = Mapping[str, str]
Key = tuple[tuple[str, str], ...]


class State(StrEnum):
    """Where an alert is."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Active:
    """An alert whose condition holds at this moment; it fires once it has held for `hold` seconds.

    `labels` (with `alertname`) are what it is; `annotations` and `value` may change from one moment to the next.
    """

    labels: Labels
    annotations: Mapping[str, str]
    value: float
    hold: float = 0.0


@dataclass(slots=True)
class Instance:
    """One alert and its times, in seconds on the caller's clock; None for what has not happened."""

    labels: Labels
    annotations: Mapping[str, str]
    value: float
    active_at: float
    fired_at: float | None = None
    resolved_at: float | None = None
    key: Key = field(init=False, repr=False)  # what tells it from other alerts

    def __post_init__(self) -> None:
        """Labels never change."""
        self.key = key_of(self.labels)

    @property
    def state(self) -> State:
        """Where it is."""
        if self.resolved_at is not None:
            return State.RESOLVED
        return State.PENDING if self.fired_at is None else State.FIRING


_SAVED = ("labels", "annotations", "value", "active_at", "fired_at", "resolved_at")


def key_of(labels: Labels) -> Key:
    """Labels as something to look up by."""
    return tuple(sorted(labels.items()))


class AlertStates:
    """All alerts that are not inactive. It takes memory for these alone."""

    def __init__(self) -> None:
        self._known: dict[Key, Instance] = {}
        self.revision = 0  # grows with every change of a state

    def step(
        self, now: float, active: Iterable[Active], no_data: Collection[str] = (), *, ends: bool = True
    ) -> list[Instance]:
        """Takes what is active at `now`; `no_data` names the SLOs whose alerts are frozen, without `ends` none ends.

        Returns the alerts that have begun to fire or were resolved by this step.
        """
        changed, seen = [], set()
        for each in active:
            key = key_of(each.labels)
            seen.add(key)
            instance = self._take(key, each, now)
            if instance.fired_at is None and now - instance.active_at >= each.hold:
                instance.fired_at = now
                changed.append(instance)
                self.revision += 1
        for key in [key for key in self._known if ends and key not in seen]:
            instance = self._known[key]
            if instance.fired_at is not None and instance.labels.get(SLO_LABEL) in no_data:
                continue
            if instance.state is State.FIRING:
                instance.resolved_at = now
                changed.append(instance)
                self.revision += 1
            elif instance.resolved_at is None or now - instance.resolved_at > RETENTION:
                del self._known[key]
                self.revision += 1
        return changed

    def _take(self, key: Key, active: Active, now: float) -> Instance:
        instance = self._known.get(key)
        if instance is None or instance.resolved_at is not None:
            instance = self._known[key] = Instance(active.labels, active.annotations, active.value, now)
            self.revision += 1
        else:
            instance.annotations, instance.value = active.annotations, active.value
        return instance

    def instances(self) -> list[Instance]:
        """Every alert that is pending, firing, or resolved and still kept."""
        return list(self._known.values())

    def saved(self) -> list[dict[str, Any]]:
        """What `restore` takes up again, as plain data."""
        return [{name: getattr(each, name) for name in _SAVED} for each in self._known.values()]

    def restore(self, saved: Iterable[Mapping[str, Any]]) -> None:
        """Takes over what `saved` gave before a restart."""
        instances = [Instance(**each) for each in saved]
        self._known = {instance.key: instance for instance in instances}
