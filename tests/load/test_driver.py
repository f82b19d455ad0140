import asyncio
import heapq
import json

import numpy as np
import pytest
from aiohttp import web

from sloctl.load.driver import Answer, drive
from sloctl.load.schedule import Arrival, Phase, Schedule, plan
from sloctl.load.v2 import bodies, infer_body, sender


class Time:
    """Virtual time: sleepers wake in order, and only when nobody can run before them."""

    def __init__(self, oversleep=0.0):
        self.now = 100.0
        self._oversleep = oversleep
        self._sleepers = []
        self._count = 0
        self._turns = 0

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self._count += 1
        waker = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds + self._oversleep, self._count, waker))
        if self._turns == 0:
            asyncio.get_running_loop().call_soon(self._advance)
        self._turns = 5  # of the loop, in which whoever can run does, before time goes on
        await waker

    def _advance(self):
        self._turns -= 1
        if self._turns == 0:
            at, _, waker = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            waker.set_result(None)
            self._turns = 5 if self._sleepers else 0
        if self._turns:
            asyncio.get_running_loop().call_soon(self._advance)


async def played(schedule, time, answers):
    records = []

    async def send(arrival):
        await time.sleep(answers(arrival))
        return Answer(200, variant="fp32")

    await drive(schedule, send, records.append, clock=time.clock, sleep=time.sleep)
    return records


def at(*times):
    return Schedule((Phase("a", 10, 1),), tuple(Arrival(t, "a", "normal") for t in times))


async def test_requests_leave_on_schedule_however_slow_the_answers_are():
    records = await played(at(1.0, 1.1, 1.2), Time(), lambda _: 5.0)
    assert [record.sent for record in records] == pytest.approx([1.0, 1.1, 1.2])
    assert [record.latency for record in records] == pytest.approx([5.0, 5.0, 5.0])


async def test_a_driver_that_oversleeps_owns_up_to_it():
    (record,) = await played(at(1.0), Time(oversleep=0.25), lambda _: 0.5)
    assert record.lag == pytest.approx(0.25)
    assert record.latency == pytest.approx(0.25 + 0.75)


async def test_every_arrival_ends_as_one_record():
    schedule = plan([Phase("a", 2, 30), Phase("b", 1, 60)], {"high": 1, "low": 1}, 7)
    records = await played(schedule, Time(), lambda arrival: 0.3 if arrival.priority == "low" else 0.01)
    key = lambda r: (r.phase, r.priority)  # noqa: E731
    assert sorted((r.scheduled, *key(r)) for r in records) == sorted((a.at, *key(a)) for a in schedule.arrivals)


async def test_it_lasts_as_long_as_the_schedule():
    time = Time()
    await played(at(0.5), time, lambda _: 0.1)
    assert time.now == pytest.approx(110.0)


def test_a_body_is_a_v2_request_with_a_binary_tensor():
    tensor = np.arange(6, dtype=np.float32).reshape(1, 6)
    body = infer_body("image", tensor, 3, 1.5)
    length = int(body.headers["inference-header-content-length"])
    head = json.loads(body.data[:length])
    assert head["parameters"] == {"priority": 3, "timeout": 1_500_000, "binary_data_output": True}
    assert head["inputs"] == [
        {"name": "image", "shape": [1, 6], "datatype": "FP32", "parameters": {"binary_data_size": 24}}
    ]
    np.testing.assert_array_equal(np.frombuffer(body.data[length:], "<f4"), tensor.ravel())


async def answered(handler, patience=1.0):
    """What `sender` makes of a server's answer."""
    app = web.Application()
    app.router.add_post("/v2/models/digits/infer", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    made = bodies("image", [np.zeros((1, 4), np.float32)], ["high", "low"], patience)
    try:
        async with sender(url, "digits", made, patience) as send:
            return await send(Arrival(0.0, "a", "low"))
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "headers", "text", "expected"),
    [
        pytest.param(200, {"sloctl-variant": "int8"}, "x", Answer(200, "int8"), id="a result names its variant"),
        pytest.param(
            503, {}, '{"error":"later","reason":"shed"}', Answer(503, None, "shed"), id="a refusal names its reason"
        ),
        pytest.param(500, {}, '{"error":"engine"}', Answer(500, None, "engine"), id="an error is its own reason"),
        pytest.param(502, {}, "<html>", Answer(502), id="a foreign error has no reason"),
        pytest.param(502, {}, "[]", Answer(502), id="nor has JSON of another form"),
    ],
)
async def test_answers(status, headers, text, expected):
    async def handler(request):
        await request.read()
        return web.Response(status=status, headers=headers, text=text)

    assert await answered(handler) == expected


async def test_a_server_that_hangs_up_is_no_answer():
    async def handler(request):
        request.transport.abort()
        return web.Response()

    found = await answered(handler)
    assert (found.status, found.variant) == (0, None)
    assert found.reason


async def test_a_server_that_says_nothing_is_a_timeout():
    async def handler(request):
        await asyncio.Event().wait()

    assert await answered(handler, patience=-0.45) == Answer(0, None, "timeout")
