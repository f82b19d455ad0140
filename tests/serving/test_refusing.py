"""Refusals written by the connection itself: the same as those of the application, and what is not refused passes."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from callers import Caller, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sloctl.board import BreakerCommand
from sloctl.serving.http import HttpApp
from sloctl.serving.refusing import Refuser
from sloctl.serving.tracing import RequestTracer
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.tracing import provider


def shed(bench: Any) -> None:
    bench.word(admit=(1.0, 0.25, 0.0))


def trip(bench: Any) -> None:
    bench.word(breaker=BreakerCommand.FORCE_OPEN, breaker_sequence=1)


CLASSES = ({"priority": 1}, {"priority": 2}, {"priority": 3}, {"timeout": 1}, {"priority": 2, "timeout": 1}, {})
SCENES = {
    "breaker_open": (trip, {}),
    "shed": (shed, {}),
    "deadline": (lambda _: None, {}),
    "rate_limited": (lambda _: None, {"tenants": {"rate": 0.001, "burst": 3}}),
}


@pytest.fixture
async def callers() -> AsyncIterator[Any]:
    made: list[Caller] = []

    def call(bench: Any, tracer: RequestTracer | None = None) -> Caller:
        made.append(Caller(bench, tracer))
        return made[-1]

    yield call
    for each in made:
        each.close()


def alike(answer: tuple[int, dict[str, str], bytes]) -> Any:
    """An answer without what a clock decides."""
    status, headers, body = answer
    told = json.loads(body)
    if status == 200:
        return status, told
    timed = ("retry-after", "retry-after-ms", "content-length")
    return status, {**headers, **dict.fromkeys(timed, "")}, {**told, "retry_after": ""}


async def told(make: Any, callers: Any, scene: str, *, held: bool) -> tuple[list[Any], dict[Any, float], list[int]]:
    """Answers to a series of requests, what was counted, and the writes that each took."""
    act, config = SCENES[scene]
    bench = make(**config)
    await bench.load()
    act(bench)
    caller, answers, writes = callers(bench), [], []
    for number in range(24):
        bench.model.refusing = int(held)
        asked = CLASSES[number % len(CLASSES)]
        answers += map(alike, await caller.send(request(asked)))
        writes.append(len(caller.wire.written))
    classes = bench.board.topology.priorities
    counted = {(p, o): bench.scalar(c.REQUESTS, "m", p, o) for p in classes for o in c.OUTCOMES}
    return answers, counted, writes


@pytest.mark.parametrize("scene", SCENES)
async def test_a_held_request_is_told_and_counted_what_the_application_says(
    make: Any, callers: Any, scene: str
) -> None:
    plain, held = [await told(make, callers, scene, held=each) for each in (False, True)]
    assert held[:2] == plain[:2]
    refused = [writes for answer, writes in zip(held[0], held[2], strict=True) if answer[0] != 200]
    assert any(answer[-1].get("reason") == scene for answer in held[0])
    assert refused == [1] * len(refused), "written at once, not head and body"


async def full(bench: Any) -> list["asyncio.Future[Any]"]:
    """A run that does not come back, and a queue of one."""
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    waiting = []
    for there in (lambda: bench.model._lane.jobs, lambda: bench.model._queues.length):
        waiting.append(asyncio.ensure_future(bench.infer(1)))
        while not there():  # noqa: ASYNC110  nobody sets an event for what it looks at
            await asyncio.sleep(0.001)
    return waiting


async def test_a_full_queue_refuses_at_the_connection_and_gives_way_to_a_higher_class(make: Any, callers: Any) -> None:
    bench = make(maxQueue=1, maxBatch=1, hang_after=60.0)
    await bench.load()
    waiting = await full(bench)
    bench.model.expect_refusals()
    caller = callers(bench)
    ((status, _, body),) = await caller.send(request({"priority": 2}))
    assert (status, json.loads(body)["reason"], len(caller.wire.written)) == (503, "overloaded", 1)
    asking = asyncio.ensure_future(caller.send(request({"priority": 1})))
    evicted = await waiting[1]
    assert (evicted.status, json.loads(evicted.body)["reason"]) == (503, "overloaded")
    bench.engines["fp32"].go.set()
    assert [status for status, _, _ in await asking] == [200]
    assert (await waiting[0]).status == 200


def cuts(data: bytes, places: Sequence[float]) -> list[bytes]:
    marks = sorted({round(place * len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(marks)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.floats(0, 1), max_size=4), number=st.integers(1, 3))
async def test_what_is_not_refused_is_answered_however_it_comes(bench: Any, places: list[float], number: int) -> None:
    caller = Caller(bench)
    bench.model.expect_refusals()
    answers = await caller.send(*cuts(request() * number, places), answers=number)
    caller.close()
    assert [(status, json.loads(body)["outputs"][0]["data"]) for status, _, body in answers] == [
        (200, [2.0, 4.0, 6.0, 8.0])
    ] * number
    assert bench.model.inflight == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.floats(0, 1), max_size=4), number=st.integers(1, 3))
async def test_what_is_refused_is_so_however_it_comes(bench: Any, places: list[float], number: int) -> None:
    trip(bench)
    caller = Caller(bench)
    bench.model.expect_refusals()
    before = bench.scalar(c.REQUESTS, "m", "normal", "breaker_open")
    answers = await caller.send(*cuts(request() * number, places), answers=number)
    caller.close()
    assert [status for status, _, _ in answers] == [503] * number
    assert bench.scalar(c.REQUESTS, "m", "normal", "breaker_open") == before + number


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(request(body=b"{"), 400, id="half a JSON"),
        pytest.param(request({"priority": -1}), 400, id="a wrong priority"),
        pytest.param(request({"sloctl_precision": "int8"}), 403, id="a wish that is not allowed"),
        pytest.param(request(None, "x-sloctl-priority: nobody"), 400, id="a wrong header"),
        pytest.param(request(None, "content-encoding: gzip"), 415, id="a compressed body"),
        pytest.param(request(None, "inference-header-content-length: 9999"), 400, id="more JSON than there is body"),
        pytest.param(request().replace(b"POST", b"GET"), 405, id="a GET"),
        pytest.param(request().replace(b"models/m", b"models/nobody"), 404, id="another model"),
    ],
)
async def test_what_is_no_matter_of_load_is_left_to_the_application(
    bench: Any, callers: Any, sent: bytes, status: int
) -> None:
    bench.model.expect_refusals()
    ((found, _, _),) = await callers(bench).send(sent)
    assert found == status
    assert sum(bench.scalar(c.REQUESTS, "m", "normal", each) for each in c.OUTCOMES) == (status not in (404, 405))


@pytest.mark.parametrize("sent", [request(None, "connection: close"), request(version="1.0")])
async def test_who_wants_no_other_answer_gets_one_and_the_end(bench: Any, callers: Any, sent: bytes) -> None:
    trip(bench)
    bench.model.expect_refusals()
    caller = callers(bench)
    ((status, headers, _),) = await caller.send(sent)
    assert (status, headers["connection"], caller.wire.closed) == (503, "close", True)


async def test_a_refusal_waits_for_the_answer_before_it(bench: Any, callers: Any) -> None:
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    caller = callers(bench)
    asking = asyncio.ensure_future(caller.send(request(), request({"timeout": 1}), answers=2))
    while not bench.model._lane.jobs:  # noqa: ASYNC110  nobody sets an event for what it looks at
        await asyncio.sleep(0.001)
    bench.model.expect_refusals()
    assert caller.wire.written == []
    bench.engines["fp32"].go.set()
    assert [status for status, _, _ in await asking] == [200, 503]


async def test_a_refusal_has_the_span_that_the_application_gives_it(bench: Any, callers: Any) -> None:
    exporter = InMemorySpanExporter()
    spans = provider("", exporter)
    tracer = RequestTracer(spans.get_tracer("test"), 1.0, bench.plane.clock)
    bench.app = HttpApp(bench.plane, 1 << 20, tracer)
    shed(bench)
    caller, writes = callers(bench, tracer), []
    for held in (False, True):
        bench.model.refusing = int(held)
        sent = request({"priority": 3})
        await caller.send(*([sent] if held else [sent[:-1], sent[-1:]]))  # in parts it is the application's
        writes.append(len(caller.wire.written))
    spans.force_flush()
    plain, written = [(each.name, each.attributes, each.status.status_code) for each in exporter.get_finished_spans()]
    spans.shutdown()
    assert (writes, written) == ([2, 1], plain)
    assert (written[1]["sloctl.reason"], written[1]["sloctl.priority"]) == ("shed", 2)


@pytest.mark.parametrize("way", [b"/infer", b"/infer?through=ASGI"])
async def test_a_refusal_does_not_end_the_request_that_came_with_it(bench: Any, callers: Any, way: bytes) -> None:
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    bench.model.expect_refusals()
    caller = callers(bench)
    caller.connection.timeout_keep_alive = 0
    asking = asyncio.ensure_future(caller.send(request({"timeout": 1}) + request().replace(b"/infer", way), answers=2))
    while not bench.model._lane.jobs:  # noqa: ASYNC110  nobody sets an event for what it looks at
        await asyncio.sleep(0.001)
    assert (len(caller.wire.written), caller.wire.closed) == (1, False)
    bench.engines["fp32"].go.set()
    assert [status for status, _, _ in await asking] == [503, 200]


async def test_requests_are_held_for_as_long_as_some_are_refused(bench: Any) -> None:
    refuser = Refuser(bench.plane, bench.app)
    expected = [refuser.expects(b"/v2/models/m/infer")]
    await bench.infer(1, parameters={"timeout": 1})
    for _ in range(2):
        expected.append(refuser.expects(b"/v2/models/m/infer"))
        bench.model.tick()
    expected.append(refuser.expects(b"/v2/models/m/infer"))
    assert expected == [False, True, True, False]
    assert not refuser.expects(b"/v2/models/m")
