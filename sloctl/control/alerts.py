"""The daemon's own alerts: their states over ticks, restarts and reloads, and how they are shown."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from sloctl.control.judging import Judge
from sloctl.slo.alerting import Active, AlertStates, Instance, State
from sloctl.slo.objective import Objective
from sloctl.slo.prometheus import NO_DATA
from sloctl.slo.tiers import TierAlerts
from sloctl.slo.windows import AlertWindow
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.families import Family
from sloctl.telemetry.timestamps import rfc3339

_SHOWN = (State.PENDING, State.FIRING)


class Alerts:
    """Alerts over SLOs, and those on the daemon itself (see Watch).

    Times are those of the evaluator's axis (see Timeline), which no step of a clock touches.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        windows: Sequence[AlertWindow],
        saved: Iterable[Mapping[str, Any]],
        runbooks: str,
        names: Iterable[tuple[str, str]],
    ) -> None:
        """`runbooks` is the folder of the alerts' pages; `names` are (alertname, severity) of alerts besides."""
        self._burning = TierAlerts(objectives, windows, runbooks)
        self._names = sorted({*self._burning.names(), *names})
        self._tiers = self._burning.tiers()
        self._ends_from = float("-inf")
        self._states = AlertStates()
        self._states.restore(saved)

    def tick(self, axis: float, judge: Judge, watched: Iterable[Active]) -> list[Instance]:
        """Takes what judge and watch have found; returns the alerts that have begun to fire or were resolved."""
        burning = self._burning.active(judge.evaluator, judge.no_data)
        return self._states.step(axis, chain(burning, watched), judge.no_data, ends=axis >= self._ends_from)

    def keep(self, until: float) -> None:
        """No alert ends before that time: after a start it takes a while until everything is known again."""
        self._ends_from = until

    @property
    def revision(self) -> int:
        """Grows with every change that has to be saved."""
        return self._states.revision

    def saved(self) -> list[dict[str, Any]]:
        """What a new one takes up again."""
        return self._states.saved()

    def instances(self) -> list[Instance]:
        """All, those that were resolved lately too."""
        return self._states.instances()

    def shown(self) -> list[Instance]:
        """Those that are pending or firing, the longest active first."""
        live = [instance for instance in self._states.instances() if instance.state in _SHOWN]
        return sorted(live, key=lambda instance: instance.active_at)

    def families(self) -> list[Family]:
        """How many there are by name, severity and state, and which tier of which SLO fires."""
        live = self.shown()
        counts = Counter((each.labels["alertname"], each.labels["severity"], each.state) for each in live)
        firing = {
            (each.labels.get("sloctl_slo"), each.labels.get("sloctl_tier"))
            for each in live
            if each.state is State.FIRING and each.labels["alertname"] != NO_DATA
        }
        alerts, tiers = Family(c.ALERTS), Family(c.SLO_ALERT)
        for name in self._names:
            alerts.samples += [((*name, state), float(counts[*name, state])) for state in _SHOWN]
        tiers.samples += [(tier, float(tier in firing)) for tier in self._tiers]
        return [alerts, tiers]


def described(instances: Iterable[Instance], skew: float) -> list[dict[str, Any]]:
    """Alerts as Prometheus' `/api/v1/alerts` has them; `skew` is what to add to their times for Unix time."""
    return [
        {
            "labels": dict(each.labels),
            "annotations": dict(each.annotations),
            "state": each.state,
            "activeAt": rfc3339(each.active_at + skew),
            "value": f"{each.value:e}",
        }
        for each in instances
    ]
