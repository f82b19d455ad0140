"""Slow clients of the HTTP ports of both planes, on a loop whose timers are in the test's hands."""

import asyncio
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from sloctl.connection import LEAST, PATIENCE, Connection

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


class Timer:
    def __init__(self, due: float, act: Any) -> None:
        self.due, self.act, self.over = due, act, False

    def cancel(self) -> None:
        self.over = True


class Loop:
    """The running loop, but for its timers."""

    def __init__(self) -> None:
        self.now, self.timers = 0.0, []

    def call_later(self, delay: float, act: Any, *arguments: Any) -> Timer:
        self.timers.append(Timer(self.now + delay, partial(act, *arguments)))
        return self.timers[-1]

    def create_task(self, work: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(work)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if not timer.over and timer.due <= end]:
            timer = min(due, key=lambda each: each.due)
            self.now, timer.over = timer.due, True
            timer.act()
        self.now = end

    @property
    def waiting(self) -> int:
        return sum(not timer.over for timer in self.timers)


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent, self.closed, self.aborted = b"", False, False
        self.unread = 0

    def write(self, data: Any) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Client:
    """A connection, its ends, and an application that answers what has a whole body once it may `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.loop, self.transport = Loop(), Transport()
        config = uvicorn.Config(self.answer, log_config=None, timeout_keep_alive=75, interface="asgi3")
        self.connection = Connection(config, ServerState(), {}, _loop=self.loop)  # type: ignore[arg-type]
        self.connection.connection_made(self.transport)

    async def answer(self, _: Any, receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def send(self, data: bytes) -> None:
        self.connection.data_received(data)
        for _ in range(5):
            await asyncio.sleep(0)

    @property
    def statuses(self) -> list[str]:
        return [line.split()[1] for line in self.transport.sent.decode().splitlines() if line.startswith("HTTP/")]


@pytest.fixture
async def client() -> Client:
    return Client()


async def test_a_connection_that_says_nothing_is_closed(client: Client) -> None:
    client.loop.pass_time(PATIENCE - 1)
    assert not client.transport.closed
    client.loop.pass_time(1)
    assert (client.statuses, client.transport.closed) == ([], True)


async def test_a_head_that_dribbles_in_is_told_that_it_took_too_long(client: Client) -> None:
    for byte in b"GET / HTTP/1.1\r\nx: ":
        await client.send(bytes([byte]))
        client.loop.pass_time(1)
    assert not client.transport.closed
    client.loop.pass_time(1)
    assert (client.statuses, client.transport.closed) == (["408"], True)


async def test_so_is_the_next_head_of_a_connection(client: Client) -> None:
    await client.send(HEAD % 0)
    client.loop.pass_time(2 * PATIENCE)  # idle, which it may be for longer
    await client.send(b"\r\n")
    client.loop.pass_time(PATIENCE - 1)
    assert (client.statuses, client.transport.closed) == (["200"], False)
    client.loop.pass_time(1)
    assert (client.statuses, client.transport.closed) == (["200", "408"], True)


@pytest.mark.parametrize(("rest", "told"), [(HEAD % 5 + b"x", ["408"]), (b"POST /", [])], ids=["body", "head"])
async def test_so_is_what_comes_behind_another_request_in_one_read(
    client: Client, rest: bytes, told: list[str]
) -> None:
    await client.send(HEAD % 0 + rest)
    client.loop.pass_time(2 * PATIENCE)
    assert (client.statuses, client.transport.closed) == (["200", *told], True)


async def test_an_idle_connection_is_closed_without_a_word(client: Client) -> None:
    await client.send(HEAD % 0)
    client.loop.pass_time(75)
    assert (client.statuses, client.transport.closed) == (["200"], True)


async def test_a_body_that_dribbles_in_is_told_that_it_took_too_long(client: Client) -> None:
    await client.send(HEAD % (10 * LEAST))
    for _ in range(2 * int(PATIENCE)):
        assert not client.transport.closed
        client.loop.pass_time(1)
        if not client.transport.closed:
            await client.send(b"x")
    assert (client.statuses, client.transport.closed) == (["408"], True)


async def test_a_body_may_take_as_long_as_it_likes_while_it_comes_along(client: Client) -> None:
    await client.send(HEAD % (10 * LEAST))
    for _ in range(10):
        client.loop.pass_time(PATIENCE - 1)
        await client.send(b"x" * LEAST)
    assert client.statuses == ["200"]
    assert client.loop.waiting == 1, "for the next request, as long as it may be idle"


async def test_the_time_that_an_answer_takes_is_not_the_clients(client: Client) -> None:
    client.go.clear()
    await client.send(HEAD % 1 + b"x")
    await client.send(b"POST /")  # the next one's
    client.loop.pass_time(3 * PATIENCE)
    assert not client.transport.closed
    client.go.set()
    await client.send(b" HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    assert (client.statuses, client.transport.closed) == (["200", "200"], False)


async def test_a_client_that_does_not_read_why_it_is_closed_is_cut_off(client: Client) -> None:
    await client.send(b"GET /")
    client.transport.close()
    client.loop.pass_time(PATIENCE)
    assert client.transport.aborted


@pytest.mark.parametrize("waits", ["for room", "to be closed"])
async def test_an_answer_that_nobody_reads_is_given_up_and_one_that_is_read_slowly_is_not(
    client: Client, waits: str
) -> None:
    await client.send(HEAD % 0)
    client.transport.unread = 3
    if waits == "for room":
        client.connection.pause_writing()
    else:
        client.loop.pass_time(75)
        assert client.transport.closed
    for left in (2, 1):
        client.loop.pass_time(PATIENCE - 1)
        client.transport.unread = left
        client.loop.pass_time(1)
        assert not client.transport.aborted
    client.loop.pass_time(PATIENCE)
    assert client.transport.aborted


async def test_an_answer_that_is_read_in_the_end_leaves_the_connection_as_it_was(client: Client) -> None:
    await client.send(HEAD % 0)
    client.transport.unread = 3
    client.connection.pause_writing()
    client.loop.pass_time(PATIENCE - 1)
    client.transport.unread = 0
    client.connection.resume_writing()
    client.transport.unread = 4  # of the next one
    client.loop.pass_time(PATIENCE)
    assert not client.transport.closed
    assert not client.transport.aborted


async def test_a_request_that_comes_whole_costs_no_timer(client: Client) -> None:
    await client.send(HEAD % 1 + b"x")
    made = len(client.loop.timers)
    await client.send(HEAD % 1 + b"x")
    assert len(client.loop.timers) - made == 1, "that of an idle connection"


@pytest.mark.parametrize("sent", [b"", b"GET /", HEAD % 0])
@pytest.mark.parametrize("error", [None, ConnectionResetError()])
async def test_nothing_is_left_of_a_connection_that_is_lost(
    client: Client, sent: bytes, error: Exception | None
) -> None:
    await client.send(sent)
    assert client.loop.waiting
    client.connection.connection_lost(error)
    assert not client.loop.waiting
