"""Requests that come whole: the connection answers them as the application does, through ASGI, those in parts."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from callers import INPUT, Caller, request

from sloctl.telemetry import catalogue as c

BINARY = json.dumps(
    {
        "id": "7",
        "inputs": [{**INPUT, "data": None, "parameters": {"binary_data_size": 16}}],
        "parameters": {"binary_data_output": True},
    }
).encode()
CHUNKS = b"POST /v2/models/m/infer HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1388\r\n%s\r\n0\r\n\r\n" % (
    b" " * 5000
)
WHOLE = {
    "JSON": request(),
    "binary": request(
        None,
        f"inference-header-content-length: {len(BINARY)}",
        body=BINARY + np.arange(4, dtype=np.float32).tobytes(),
    ),
    "half a JSON": request(body=b"{"),
    "a wrong priority": request({"priority": -1}),
    "no time": request({"timeout": 1}),
    "a compressed body": request(None, "content-encoding: gzip"),
    "too much": request(body=b" " * 5000),
    "too much in chunks": CHUNKS,
    "a query": request().replace(b"/infer", b"/infer?x=1"),
    "the end after it": request(None, "connection: close"),
}


@pytest.fixture
async def call(make: Any) -> AsyncIterator[Any]:
    """Makes a bench and a connection to it."""
    made: list[Caller] = []

    async def one(**config: Any) -> tuple[Any, Caller]:
        bench = make(max_body=4096, **config)
        await bench.load()
        made.append(Caller(bench))
        return bench, made[-1]

    yield one
    for each in made:
        each.close()


async def said(call: Any, *parts: bytes) -> Any:
    bench, caller = await call()
    ((status, headers, body),) = await caller.send(*parts)
    headers = {name: value for name, value in headers.items() if not name.startswith("retry-after")}
    body = body if b"retry_after" not in body else json.dumps({**json.loads(body), "retry_after": ""}).encode()
    headers["content-length"] = str(len(body))
    outcomes = {each: bench.scalar(c.REQUESTS, "m", "normal", each) for each in c.OUTCOMES}
    return status, headers, body, outcomes, caller.wire.closed, bench.model.inflight


@pytest.mark.parametrize("sent", WHOLE.values(), ids=WHOLE)
async def test_the_answer_is_that_of_the_application(call: Any, sent: bytes) -> None:
    middle = len(sent) - 3  # the last three bytes come later, so that it is not whole
    whole, parts = await said(call, sent), await said(call, sent[:middle], sent[middle:])
    assert whole == parts


async def test_requests_on_one_connection_are_answered_in_their_order(call: Any) -> None:
    bench, caller = await call()
    sent = [request({"timeout": 1} if number % 3 else None) for number in range(7)]
    answers = await caller.send(b"".join(sent), answers=7)
    assert [status for status, _, _ in answers] == [503 if number % 3 else 200 for number in range(7)]
    assert bench.model.inflight == 0


async def test_an_answer_that_nobody_waits_for_is_cancelled(call: Any) -> None:
    bench, caller = await call()
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    held = asyncio.ensure_future(bench.infer(1))
    while not bench.model._lane.jobs:  # noqa: ASYNC110  nobody sets an event for what it looks at
        await asyncio.sleep(0.001)
    caller.connection.data_received(request())
    while not bench.model._queues.length:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    caller.wire.closed = True
    caller.close()
    bench.engines["fp32"].go.set()
    assert (await held).status == 200
    while bench.model.inflight:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert bench.scalar(c.REQUESTS, "m", "normal", "cancelled") == 1
    assert caller.wire.written == []


async def test_a_server_that_stops_answers_first_and_says_that_it_closes(call: Any) -> None:
    bench, caller = await call()
    bench.in_threads()
    asking = asyncio.ensure_future(caller.send(request()))
    await asyncio.sleep(0)
    caller.connection.shutdown()
    assert not caller.wire.closed
    ((status, headers, _),) = await asking
    assert (status, headers["connection"], caller.wire.closed) == (200, "close", True)


@pytest.mark.parametrize("cut", [0, 3], ids=["whole", "in parts"])
async def test_what_runs_for_longer_than_a_server_that_stops_waits_is_told_so(call: Any, cut: int) -> None:
    bench, caller = await call()
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    sent = request()
    asking = asyncio.ensure_future(caller.send(*filter(None, (sent[: len(sent) - cut], sent[len(sent) - cut :]))))
    while not bench.model._lane.jobs:  # noqa: ASYNC110  nobody sets an event for what it looks at
        await asyncio.sleep(0.001)
    caller.connection.shutdown()
    (task,) = caller.connection.tasks
    task.cancel()
    ((status, headers, body),) = await asking
    bench.engines["fp32"].go.set()
    assert (status, headers["connection"], json.loads(body)["reason"]) == (503, "close", "draining")
    assert (caller.wire.closed, bench.model.inflight) == (True, 0)


async def test_what_is_broken_is_a_500_and_the_connection_goes_on(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, caller = await call()

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(bench.plane, "infer", broken)
        ((status, _, body),) = await caller.send(request())
    assert (status, json.loads(body)["reason"]) == (500, "internal")
    assert [status for status, _, _ in await caller.send(request())] == [200]


async def test_nothing_is_written_to_a_transport_that_closed_and_has_not_said_so_yet(call: Any) -> None:
    bench, caller = await call()
    caller.connection.data_received(request())
    (task,) = caller.connection.tasks
    caller.wire.closed = True
    await task
    assert (caller.wire.written, bench.model.inflight) == ([], 0)


async def test_a_connection_that_is_gone_does_not_wait_for_the_garbage_collector(bench: Any) -> None:
    caller = Caller(bench)
    assert [status for status, _, _ in await caller.send(request())] == [200]
    await asyncio.sleep(0)
    there = weakref.ref(caller.connection)
    gc.disable()
    try:
        caller.close()
        del caller
        assert there() is None
    finally:
        gc.enable()


async def test_a_connection_is_idle_after_a_request_that_ends_behind_its_answer(call: Any) -> None:
    _, caller = await call()
    sent = request(None, "content-encoding: gzip")
    assert [status for status, _, _ in await caller.send(sent[:-3])] == [415]
    caller.connection.data_received(sent[-3:])
    assert caller.connection.timeout_keep_alive_task is not None
