"""Sends alerts to Alertmanagers directly (`/api/v2/alerts`), so that a page waits for no scrape.

Every Alertmanager has a thread of its own and keeps the newest state of each alert that it has not taken yet, so a
slow or dead one holds up neither the tick nor another Alertmanager, and hears no stale news when it is back.

As Prometheus does (rules/alerting.go): a change is sent at once, whatever fires or was resolved lately again at each
resend interval, and `endsAt` of what fires is four of these ahead, so that a dead daemon's alerts end by themselves.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from sloctl.config.daemon import AlertmanagerConfig, AlertsConfig
from sloctl.slo.alerting import Instance, Key, State
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.families import Family, SummaryValue
from sloctl.telemetry.timestamps import rfc3339

CAPACITY = 10_000  # alerts that wait for one Alertmanager
_BATCH = 64  # alerts a request
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts
_AHEAD = 4  # resend intervals until an alert that nobody renews ends
_MOST_ANSWER = 4096  # bytes that are read of an answer
_AGAIN = (408, 429)  # of the client's errors those that another attempt may cure

Payload = Mapping[str, Any]
Post = Callable[[bytes], int]
"""Sends a body and returns the HTTP status. Raises OSError."""

log = structlog.get_logger("sloctl.alertmanager")


@dataclass
class Counters:
    """What became of alerts and requests of one Alertmanager."""

    sent: int = 0  # alerts taken
    failed: int = 0  # requests
    dropped: int = 0  # alerts refused, or pushed out of a full queue
    requests: int = 0
    seconds: float = 0.0  # of all requests


@dataclass
class Sender:
    """Sends to one Alertmanager, in order of arrival; of each alert only the newest state."""

    name: str
    post: Post
    capacity: int = CAPACITY
    counters: Counters = field(default_factory=Counters)
    _waiting: OrderedDict[Key, Payload] = field(default_factory=OrderedDict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False
    _failing: bool = False

    def offer(self, alerts: Mapping[Key, Payload]) -> None:
        """Takes alerts to send. Never waits."""
        with self._changed:
            self._waiting.update(alerts)
            while len(self._waiting) > self.capacity:
                self._waiting.popitem(last=False)
                self.counters.dropped += 1
            self._changed.notify()

    def start(self) -> None:
        """Begins to send."""
        threading.Thread(target=self._run, name=f"alertmanager {self.name}", daemon=True).start()

    def close(self) -> None:
        """Ends after the request in hand."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._waiting))
                if self._closed:
                    return
            if self.send():
                pause = _FIRST_PAUSE
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._closed, timeout=pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def send(self) -> bool:
        """One request with what waits. False if it has to be tried again."""
        with self._changed:
            batch = {key: self._waiting.pop(key) for key in list(self._waiting)[:_BATCH]}
        begin = time.perf_counter()
        try:
            status, reason = self.post(json.dumps(list(batch.values())).encode()), ""
        except (OSError, ValueError) as error:  # no answer; a token file that is gone, or holds no token
            status, reason = 0, str(error)
        self.counters.requests += 1
        self.counters.seconds += time.perf_counter() - begin
        taken = 200 <= status < 300
        refused = 400 <= status < 500 and status not in _AGAIN
        self._tell(taken, reason or f"it answers {status}")
        if taken:
            self.counters.sent += len(batch)
            return True
        self.counters.failed += 1
        if refused:  # the same once more would be refused once more
            self.counters.dropped += len(batch)
            return True
        with self._changed:
            newer = self._waiting
            self._waiting = OrderedDict(batch | newer)  # first those that have waited longest
        return False

    def _tell(self, taken: bool, reason: str) -> None:
        if taken and self._failing:
            log.info("alerts are sent again", alertmanager=self.name)
        elif not taken and not self._failing:
            log.warning("alerts cannot be sent; trying on", alertmanager=self.name, reason=reason)
        self._failing = not taken


class Notifier:
    """Decides when an alert has to be sent, and hands it to all senders.

    `resend` is in seconds, `external_url` where people find the daemon.
    """

    def __init__(self, senders: Sequence[Sender], resend: float, external_url: str) -> None:
        self._senders = senders
        self._resend = resend
        self._generator = f"{external_url}/api/v1/alerts"
        self._sent: dict[Key, float] = {}  # when an alert was last handed over

    def tick(self, axis: float, skew: float, instances: Iterable[Instance]) -> None:
        """Sends what is due at `axis`; `skew` is what to add to the alerts' times for Unix time."""
        due: dict[Key, Payload] = {}
        sent: dict[Key, float] = {}
        for instance in instances:
            if instance.fired_at is None:
                continue
            key = instance.key
            last = self._sent.get(key, float("-inf"))
            if max(instance.fired_at, instance.resolved_at or 0.0) > last or axis - last >= self._resend:
                due[key], last = self._payload(instance, axis, skew), axis
            sent[key] = last
        self._sent = sent
        if due:
            for sender in self._senders:
                sender.offer(due)

    def _payload(self, instance: Instance, axis: float, skew: float) -> Payload:
        resolved = instance.resolved_at if instance.state is State.RESOLVED else None
        ends = axis + _AHEAD * self._resend if resolved is None else resolved
        return {
            "labels": dict(instance.labels),
            "annotations": dict(instance.annotations),
            "startsAt": rfc3339((instance.fired_at or axis) + skew),
            "endsAt": rfc3339(ends + skew),
            "generatorURL": self._generator,
        }

    def families(self) -> list[Family]:
        """What became of the alerts, by Alertmanager."""
        names = [((sender.name,), sender.counters) for sender in self._senders]
        return [
            Family(c.ALERTS_SENT, [(name, float(counters.sent)) for name, counters in names]),
            Family(c.ALERTS_FAILED, [(name, float(counters.failed)) for name, counters in names]),
            Family(c.ALERTS_DROPPED, [(name, float(counters.dropped)) for name, counters in names]),
            Family(c.ALERTS_SEND_DURATION, [(name, SummaryValue(n.requests, n.seconds)) for name, n in names]),
        ]

    def close(self) -> None:
        """Ends all senders."""
        for sender in self._senders:
            sender.close()


def notifier(config: AlertsConfig, folder: Path, external_url: str) -> Notifier | None:
    """A running notifier, or None where there is no Alertmanager. `folder` is that of the configuration."""
    senders = [Sender(target.url, poster(target, folder)) for target in config.alertmanagers]
    for sender in senders:
        sender.start()
    return Notifier(senders, config.resend_interval, external_url) if senders else None


def poster(target: AlertmanagerConfig, folder: Path) -> Post:
    """Posts over a connection that is kept, with the token that the file holds at that moment."""
    import requests  # a sixth of a second, which a daemon without Alertmanagers does not pay
    from urllib3.exceptions import HTTPError

    session = requests.Session()
    session.trust_env = False  # a .netrc would take the token's place
    session.verify = str(folder / target.ca_file) if target.ca_file else True
    session.headers["Content-Type"] = "application/json"
    url = f"{target.url}/api/v2/alerts"

    def post(body: bytes) -> int:
        headers = {}
        if target.token_file:
            headers["Authorization"] = f"Bearer {(folder / target.token_file).read_text().strip()}"
        answer: requests.Response = session.post(
            url, body, headers=headers, timeout=target.timeout, allow_redirects=False, stream=True
        )
        with answer, suppress(HTTPError, OSError):  # the status has been said, whatever becomes of the rest
            answer.raw.read(_MOST_ANSWER)  # so that the connection can be used again
        return answer.status_code

    return post
