"""Sending alerts: what is due, what is sent once more, what is dropped. A real Alertmanager is in tests/integration."""

import json
from collections.abc import Iterable

from sloctl.control.alertmanager import Notifier, Sender
from sloctl.slo.alerting import RETENTION, Active, AlertStates
from sloctl.telemetry import catalogue as c

RESEND = 60.0


def active(name: str = "A") -> Active:
    return Active({"alertname": name, "severity": "page"}, {"summary": "it is bad"}, 1.0)


class Target:
    """An Alertmanager that answers as it is told; `bodies` are what it took."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[list[dict[str, object]]] = []

    def __call__(self, body: bytes) -> int:
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        if answer == 200:
            self.bodies.append(json.loads(body))
        return answer

    def names(self) -> list[list[str]]:
        return [[each["labels"]["alertname"] for each in body] for body in self.bodies]  # type: ignore[index]


class Bench:
    """States, a notifier and one sender whose thread is this one."""

    def __init__(self, *answers: int | Exception, capacity: int = 100) -> None:
        self.target = Target(*answers)
        self.sender = Sender("http://am", self.target, capacity)
        self.states = AlertStates()
        self.notifier = Notifier([self.sender], RESEND, "http://daemon:8002")

    def tick(self, now: float, actives: Iterable[Active] = (), skew: float = 0.0) -> None:
        self.states.step(now, actives)
        self.notifier.tick(now, skew, self.states.instances())

    def sent(self) -> list[dict[str, object]]:
        """What one request took."""
        before = len(self.target.bodies)
        self.sender.send()
        return self.target.bodies[-1] if len(self.target.bodies) > before else []


def test_what_fires_ends_by_itself_unless_it_is_renewed() -> None:
    bench = Bench()
    bench.tick(0, [active()])
    assert bench.sent() == [
        {
            "labels": {"alertname": "A", "severity": "page"},
            "annotations": {"summary": "it is bad"},
            "startsAt": "1970-01-01T00:00:00.000Z",
            "endsAt": "1970-01-01T00:04:00.000Z",
            "generatorURL": "http://daemon:8002/api/v1/alerts",
        }
    ]


def test_it_is_sent_at_each_resend_interval_and_not_more_often() -> None:
    bench = Bench()
    took = []
    for second in range(121):
        bench.tick(second, [active()])
        took.append(len(bench.sender._waiting) > 0)
        bench.sender._waiting.clear()
    assert [second for second, sent in enumerate(took) if sent] == [0, 60, 120]


def test_an_end_is_sent_at_once_and_again_until_it_is_forgotten() -> None:
    bench = Bench()
    bench.tick(0, [active()])
    bench.sent()
    ends = []
    for second in range(10, int(RETENTION) + 100, 10):
        bench.tick(second)
        ends += [each["endsAt"] for each in bench.sent()] if bench.sender._waiting else []
    assert set(ends) == {"1970-01-01T00:00:10.000Z"}
    assert len(ends) == RETENTION // RESEND + 1


def test_nobody_hears_of_what_is_pending() -> None:
    bench = Bench()
    bench.tick(0, [Active({"alertname": "A"}, {}, 1.0, hold=60)])
    assert not bench.sender._waiting


def test_times_are_those_of_the_clock_on_the_wall() -> None:
    bench = Bench()
    bench.tick(100, [active()], skew=-40)
    assert bench.sent()[0]["startsAt"] == "1970-01-01T00:01:00.000Z"


def test_a_request_that_fails_is_tried_again_with_what_is_newest() -> None:
    bench = Bench(OSError("refused"), 503)
    bench.tick(0, [active("A"), active("B")])
    assert not bench.sender.send()
    bench.tick(1, [active("B"), active("C")])
    assert not bench.sender.send()
    assert bench.sender.send()
    assert bench.target.names() == [["A", "B", "C"]]
    assert bench.target.bodies[0][0]["endsAt"] == "1970-01-01T00:00:01.000Z", "it was resolved meanwhile"
    assert (bench.sender.counters.failed, bench.sender.counters.sent) == (2, 3)


def test_a_request_that_is_refused_is_not_sent_for_ever() -> None:
    bench = Bench(400)
    bench.tick(0, [active()])
    assert bench.sender.send()
    assert not bench.sender._waiting
    assert (bench.sender.counters.failed, bench.sender.counters.dropped) == (1, 1)


def test_a_full_queue_lets_go_of_what_has_waited_longest() -> None:
    bench = Bench(capacity=2)
    bench.tick(0, [active(name) for name in "ABC"])
    bench.sender.send()
    assert bench.target.names() == [["B", "C"]]
    assert bench.sender.counters.dropped == 1


def test_many_alerts_go_in_several_requests() -> None:
    bench = Bench(capacity=1000)
    bench.tick(0, [active(str(number)) for number in range(150)])
    while bench.sender._waiting:
        bench.sender.send()
    assert [len(body) for body in bench.target.bodies] == [64, 64, 22]


def test_what_became_of_alerts_is_in_the_metrics() -> None:
    bench = Bench(OSError())
    bench.tick(0, [active()])
    bench.sender.send()
    bench.sender.send()
    found = {family.metric: family.samples for family in bench.notifier.families()}
    assert found[c.ALERTS_SENT] == found[c.ALERTS_FAILED] == [(("http://am",), 1.0)]
    assert found[c.ALERTS_SEND_DURATION][0][1].count == 2  # type: ignore[union-attr]
