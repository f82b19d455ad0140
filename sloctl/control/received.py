"""Alerts that an Alertmanager sent: which of them fire now, whatever comes twice, late or never.

Notifications come at least once, from every Alertmanager of a cluster, and a retry may be overtaken by newer ones. So
an alert is known by its fingerprint, and its episodes by when they began and ended:

- *firing* is news unless the alert fires already, or began before the end of an episode that is known to be over. An
  end is remembered for `_LATE`: no notification is retried for longer than Alertmanager's group interval. What still
  fires after that does so again, such as an alert whose source was away until Alertmanager took it for resolved.
- *resolved* is news unless it ended before the known episode began.

Where the end never comes (its Alertmanager is gone, or the alert was silenced or inhibited meanwhile) the alert
expires, `time_to_live` after it was last told of or at its own end. At most `most` fire at a time.

Times are Unix seconds, for they outlive restarts and come from other machines: `starts` and `ends` are compared with
each other only, and `expires` with this machine's clock only.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sloctl.control.webhook import Notice, Notification

RESULTS = ("firing", "resolved", "repeated", "late", "expired", "dropped", "truncated")
"""What becomes of an alert: begins to fire, is resolved, told of again, overtaken by newer news, not told of for too
long, one too many, left out by the sender."""

_LATE = 300.0  # Alertmanager's default group_interval


@dataclass(frozen=True, slots=True)
class ReceivedAlert:
    """An alert: its present or latest episode (`ends` is inf where no end is known), and until when it is kept."""

    fingerprint: str
    labels: Mapping[str, str]
    firing: bool
    starts: float
    ends: float
    expires: float

    @property
    def name(self) -> str:
        """Its `alertname`."""
        return self.labels.get("alertname", "")


class ReceivedAlerts:
    """The alerts by fingerprint. `now` is in Unix seconds everywhere; `counts` is by RESULTS."""

    def __init__(self, time_to_live: float, most: int, known: Iterable[ReceivedAlert] = ()) -> None:
        self._time_to_live = time_to_live
        self._most = most
        self._alerts = {alert.fingerprint: alert for alert in known}
        self.counts = Counter(dict.fromkeys(RESULTS, 0))

    def firing(self) -> list[ReceivedAlert]:
        """The alerts that fire."""
        return [alert for alert in self._alerts.values() if alert.firing]

    def count(self, name: str, labels: Mapping[str, str]) -> int:
        """How many alerts of a name fire with these labels; one that an alert lacks is empty, as in Alertmanager."""
        wanted = labels.items()
        return sum(
            alert.name == name and all(alert.labels.get(label, "") == value for label, value in wanted)
            for alert in self.firing()
        )

    def take(self, notification: Notification, now: float) -> list[ReceivedAlert]:
        """Takes a notification, once or several times; returns the alerts that it touched, as they are now."""
        self.expire(now)
        self.counts["truncated"] += notification.truncated
        touched = {}
        for notice in notification.notices:
            result = self._result(notice)
            self.counts[result] += 1
            if result not in {"late", "dropped"}:
                touched[notice.fingerprint] = self._alerts[notice.fingerprint] = self._after(notice, now)
        self._forget()
        return list(touched.values())

    def expire(self, now: float) -> list[ReceivedAlert]:
        """Drops what was kept long enough; returns those that still fired."""
        over = [alert for alert in self._alerts.values() if alert.expires <= now]
        for alert in over:
            del self._alerts[alert.fingerprint]
        expired = [alert for alert in over if alert.firing]
        self.counts["expired"] += len(expired)
        return expired

    def _result(self, notice: Notice) -> str:
        known = self._alerts.get(notice.fingerprint)
        if notice.firing == (known is not None and known.firing):
            return "repeated"
        if known is not None and _overtaken(notice, known):
            return "late"
        if not notice.firing:
            return "resolved"
        return "firing" if len(self.firing()) < self._most else "dropped"

    def _after(self, notice: Notice, now: float) -> ReceivedAlert:
        known = self._alerts.get(notice.fingerprint)
        if notice.firing:
            # Alertmanager moves the beginning back where its sources disagree: the latest tells episodes apart best.
            starts = max(notice.starts, known.starts) if known is not None and known.firing else notice.starts
            expires = min(now + self._time_to_live, notice.ends)
            return ReceivedAlert(notice.fingerprint, notice.labels, True, starts, notice.ends, expires)
        ends = notice.ends if notice.ends < math.inf else now
        if known is not None and not known.firing:
            ends = max(ends, known.ends)
        return ReceivedAlert(notice.fingerprint, notice.labels, False, notice.starts, ends, now + _LATE)

    def _forget(self) -> None:
        """Bounds the ends that are remembered."""
        ended = sorted((alert for alert in self._alerts.values() if not alert.firing), key=lambda alert: alert.expires)
        for alert in ended[: max(0, len(ended) - self._most)]:
            del self._alerts[alert.fingerprint]


def _overtaken(notice: Notice, known: ReceivedAlert) -> bool:
    """Whether a notice tells of an episode before the known one, or that the known one began."""
    return notice.starts <= known.ends if notice.firing else notice.ends < known.starts
