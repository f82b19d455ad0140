"""The parts of the overload bench that need no daemon: goals, clients, the emulated device, counted promises."""

import asyncio
import math
from dataclasses import replace

import pytest

from bench.overload import flapping, half_open
from bench.overload.__main__ import Report
from bench.overload.channel import Channels
from bench.overload.clients import Helped, Naive
from bench.overload.drivers import Drivers, Stream
from bench.overload.emulated import Device, PacedEngine
from bench.overload.goals import Finding, count, share, summary, within
from bench.overload.goodput import goodput, spans
from bench.overload.handover import switched
from sloctl.admission.breaker import Breaker
from sloctl.engines.base import Execution
from sloctl.load.driver import Answer
from sloctl.load.results import Record
from sloctl.load.schedule import Arrival, Phase


@pytest.mark.parametrize(
    ("goal", "values", "worst", "met"),
    [
        (share(97), (0.99, 0.975, 0.98), 0.975, True),
        (share(97), (0.99, 0.96), 0.96, False),
        (within(0.1), (0.02, 0.11), 0.11, False),
        (count(2), (0.0, 2.0), 2.0, True),
    ],
)
def test_a_goal_is_met_if_its_worst_seed_is_within_the_bound(goal, values, worst, met) -> None:
    found = Finding("something", goal, values)
    assert (found.worst, found.met) == (worst, met)
    assert ("**no**" in summary([found])) is not met


@pytest.mark.parametrize("values", [(), (math.nan,), (0.99, math.nan)])
def test_what_was_not_seen_meets_no_goal(values) -> None:
    assert not Finding("something", share(50), values).met
    assert not Finding("something", count(5), values).met


def test_a_part_that_fails_costs_only_its_own_and_none_begins_when_the_time_is_over(capsys) -> None:
    report = Report(["first", "second"], budget=60.0)

    def fails() -> tuple[str, list[Finding]]:
        raise OSError("no such device")

    report.run("first", "One", fails)
    report.run("second", "Two", lambda: ("a table", [Finding("two", count(0), (0.0,))]))
    report.run("third", "Three", fails)
    late = Report(["first"], budget=-1.0)
    late.run("first", "One", fails)
    assert ([found.what for found in report.findings], report.failed, late.failed) == (["two"], ["One"], ["One"])
    told = capsys.readouterr()
    assert "a table" in told.out
    assert "no such device" in told.err
    assert "Three" not in told.out


def record(scheduled: float, latency: float, status: int = 200) -> Record:
    return Record("x", "high", scheduled, scheduled, scheduled + latency, status)


def test_goodput_counts_good_answers_that_come_within_the_span() -> None:
    records = [record(0.95, 0.1), record(1.0, 0.1), record(1.0, 0.3), record(1.5, 0.1, 503), record(2.95, 0.1)]
    where = spans([Phase("before", 1.0, 1.0), Phase("load", 2.0, 1.0)])["load"]
    assert where == (1.0, 3.0)
    assert goodput(records, where, objective=0.2) == 2 / 2.0


def test_a_late_answer_by_the_variant_before_is_no_switch_back() -> None:
    """A faster variant overtakes what the slower one was still computing."""
    answers = [
        (1.4, 0.1, "fp32"),
        (1.74, 0.01, "fp32"),
        (1.744, 0.003, "int8"),
        (1.75, 0.01, "fp32"),
        (1.8, 0.01, "int8"),
    ]
    answers += [(3.0, 0.01, "int8"), (3.3, 0.01, "fp32")]
    records = [replace(record(scheduled, latency), variant=variant) for scheduled, latency, variant in answers]
    assert switched(records, [(1.5, "int8"), (2.9, "fp32")]) == pytest.approx([1.747, 3.31])
    assert switched(records, [(1.5, "int8"), (2.9, "fp32"), (4.0, "int8")]) == pytest.approx([1.747, 3.31])


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now


def test_the_device_works_through_its_batches_one_after_another() -> None:
    clock = Clock()
    device = Device(clock, clock.slept.append)
    device.compute(2.0)
    clock.now = 101.0  # the first is at work
    device.compute(3.0)
    clock.now = 110.0  # idle since 105
    device.compute(1.0)
    assert clock.slept == [2.0, 4.0, 1.0]


class Tiny:
    runtime = "tiny 1.0"

    def infer(self, *requests) -> Execution:
        return Execution({"y": len(requests)}, 1e-6, 1e-6)


def test_a_batch_takes_the_time_of_the_table_and_gives_the_small_engines_output() -> None:
    import numpy as np

    clock = Clock()
    engine = PacedEngine(Tiny(), {1: 1.0, 3: 2.0}, Device(clock, clock.slept.append))
    made = engine.infer({"x": np.ones((1, 4))}, {"x": np.ones((1, 4))})
    assert clock.slept == [1.5]
    assert (made.outputs, made.engine_seconds) == ({"y": 2}, 1.5)
    assert engine.runtime == "tiny 1.0"


ANSWERS = {
    b"/good": b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nsloctl-variant: int8\r\n\r\nbody",
    b"/refused": b'HTTP/1.1 503 X\r\nContent-Length: 25\r\nRetry-After-Ms: 1500\r\n\r\n{"reason":"overloaded"}  ',
    b"/slow": b"",
    b"/hangs-up": None,
}


async def serve(reader, writer) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        answer = ANSWERS[head.split()[1]]
        if answer is None:
            writer.close()
            return
        for start in range(0, len(answer), 7):  # in pieces, as a network brings them
            writer.write(answer[start : start + 7])
            await writer.drain()


@pytest.fixture
async def url():
    made = []

    async def accept(reader, writer) -> None:
        made.append(writer)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", made
    server.close()


async def test_channels_read_what_an_answer_says_and_use_connections_again(url) -> None:
    address, made = url
    channels = Channels(address)
    wanted = {
        "good": Answer(200, variant="int8"),
        "refused": Answer(503, reason="overloaded", retry_after=1.5),
        "slow": Answer(0, reason="timeout"),
        "hangs-up": Answer(0, reason="ConnectionResetError"),
    }
    for name, answer in wanted.items():
        assert await channels.exchange(f"POST /{name} HTTP/1.1\r\n\r\n".encode(), 0.2) == answer
    assert len(made) == 2  # after the one that was slow a new connection
    assert (await channels.exchange(b"POST /good HTTP/1.1\r\n\r\n", 0.2)).status == 200
    channels.close()


@pytest.mark.parametrize(
    ("statuses", "retries", "last", "attempts"),
    [([503, 503, 200], 3, 200, 3), ([503] * 9, 3, 503, 4), ([500, 200], 3, 500, 1), ([0, 200], 0, 0, 1)],
)
async def test_naive_clients_insist_on_what_was_refused_or_lost(statuses, retries, last, attempts) -> None:
    left = list(statuses)

    async def send(_: Arrival) -> Answer:
        return Answer(left.pop(0))

    answer = await Naive(retries, pause=0.0).around(send)(Arrival(0.0, "x", "high"))
    assert (answer.status, len(statuses) - len(left)) == (last, attempts)


async def test_helped_clients_come_again_within_their_budget_or_not_at_all() -> None:
    sent = 0

    async def send(_: Arrival) -> Answer:
        nonlocal sent
        sent += 1
        return Answer(503, reason="overloaded")

    helped = Helped(seconds=0.2).around(send)
    answers = [await helped(Arrival(0.0, "x", "high")) for _ in range(100)]
    assert {answer.status for answer in answers} == {503}
    assert {answer.reason for answer in answers} == {"overloaded", "throttled"}
    assert sent < 100


def test_processes_share_a_load() -> None:
    drivers = Drivers(2)
    try:
        (part,) = [drivers._part(Stream([Phase("x", 1.0, 10.0)], {"high": 1.0}))]
        assert part.phases == [Phase("x", 1.0, 5.0)]
    finally:
        drivers.close()


def test_no_interleaving_breaks_the_breakers_promises() -> None:
    found = half_open.measure(2000)
    assert found.interleavings == 2000
    assert found.steps > 10 * found.interleavings
    assert all(each.met for each in found.findings())


class Generous(Breaker):
    """Gives a second token where it has given one."""

    given: int | None = None

    def acquire(self, now: float) -> int | None:
        token = super().acquire(now)
        self.given = self.given if token is None else token
        return self.given


class Stuck(Breaker):
    """Lets nobody pass."""

    def acquire(self, now: float) -> int | None:
        return None


def test_a_breaker_that_breaks_them_is_seen(monkeypatch) -> None:
    monkeypatch.setattr(half_open, "Breaker", Generous)
    assert half_open.measure(200).over > 0
    monkeypatch.setattr(half_open, "Breaker", Stuck)
    assert half_open.measure(200).wedged == 200


@pytest.mark.parametrize("policy", flapping.POLICIES, ids=lambda policy: policy.path.parent.name)
def test_no_policy_that_is_to_be_copied_flaps(policy) -> None:
    noise, off, back = flapping.once(policy, hours=0.25, seed=1)
    assert noise <= 8  # an hour's two, in a quarter of one
    assert (off, back) == (0.0, 0.0)
