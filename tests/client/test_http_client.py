"""The V2 client against a server in a thread that answers as it is told."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sloctl.client import Caller, Client, InferenceError, Retry

ANSWER = {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [2.0]}]}
REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}], "parameters": {"priority": 1}}


class Server(ThreadingHTTPServer):
    """Plays `answers` (status, headers, body), and hangs up where there is none; keeps what it was asked, and by which
    connection. `silent`: it closes each connection after an answer, and does not say so.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.silent = False
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked: list[tuple[int, str, dict[str, str], dict[str, object]]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.client_address[1], self.path, dict(self.headers), body))
        self.close_connection = self.server.silent or not self.server.answers
        if not self.server.answers:
            return
        status, headers, said = self.server.answers.pop(0)
        self.send_response(status)
        for name, value in {"content-length": str(len(said)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    caller = Caller(chance=lambda: 0.999, sleep=lambda _: None)
    with Client(f"http://127.0.0.1:{server.server_port}/base/", headers={"x-tenant": "a"}, caller=caller) as made:
        yield made


def ok() -> tuple[int, dict[str, str], bytes]:
    return 200, {}, json.dumps(ANSWER).encode()


def refusal(reason: str = "overloaded", **headers: str) -> tuple[int, dict[str, str], bytes]:
    said = {"error": "no", "reason": reason}
    return 503, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(said).encode()


def test_the_request_goes_as_it_is_with_the_time_that_is_left(server: Server, client: Client) -> None:
    server.answers = [ok(), ok()]
    assert client.infer("a model/1", REQUEST, timeout=2) == ANSWER
    assert client.infer("m", {"inputs": []}) == ANSWER
    (_, path, headers, body), (_, other, _, default) = server.asked
    assert (path, other) == ("/base/v2/models/a%20model%2F1/infer", "/base/v2/models/m/infer")
    assert headers["x-tenant"] == "a"
    assert body["inputs"] == REQUEST["inputs"]
    assert body["parameters"]["priority"] == 1
    assert 1_000_000 < body["parameters"]["timeout"] <= 2_000_000 < default["parameters"]["timeout"] <= 10_000_000
    assert REQUEST["parameters"] == {"priority": 1}, "what was given is left alone"


def test_one_connection_is_used_again_until_the_server_closes_it(server: Server, client: Client) -> None:
    server.answers = [ok(), refusal("deadline"), (200, {"connection": "close"}, ok()[2]), ok()]
    client.infer("m", REQUEST)
    with pytest.raises(InferenceError):
        client.infer("m", REQUEST)
    client.infer("m", REQUEST)
    client.infer("m", REQUEST)
    ports = [port for port, *_ in server.asked]
    assert ports[0] == ports[1] == ports[2] != ports[3]


@pytest.fixture
def once(server: Server) -> Iterator[Client]:
    """A client that never retries."""
    with Client(f"http://127.0.0.1:{server.server_port}", caller=Caller(Retry(attempts=1))) as made:
        yield made


def test_a_connection_that_was_closed_while_idle_costs_no_error_and_no_retry(server: Server, once: Client) -> None:
    server.silent, server.answers = True, [ok()] * 20
    for _ in range(20):
        assert once.infer("m", REQUEST) == ANSWER
    assert len({port for port, *_ in server.asked}) == 20
    assert (once.caller.counts.retries, once.caller.counts.throttled) == (0, 0)


def test_a_request_goes_over_a_new_connection_once_and_no_more(server: Server, once: Client) -> None:
    server.answers = [ok()]
    once.infer("m", REQUEST)
    with pytest.raises(ConnectionError):
        once.infer("m", REQUEST)
    assert len(server.asked) == 1 + 2, "the idle connection, and a new one"
    with pytest.raises(ConnectionError):
        once.infer("m", REQUEST)
    assert len(server.asked) == 3 + 1, "a connection that is new tells of the server"


def test_an_answer_that_has_begun_is_not_asked_for_again_behind_the_caller_s_back(server: Server, once: Client) -> None:
    server.answers = [ok(), (200, {"content-length": "1000", "connection": "close"}, b"{"), ok()]
    once.infer("m", REQUEST)
    with pytest.raises(IncompleteRead):
        once.infer("m", REQUEST)
    assert len(server.asked) == 2


def test_a_refusal_is_tried_again_and_an_error_tells_all(server: Server, client: Client) -> None:
    server.answers = [refusal(), ok()]
    assert client.infer("m", REQUEST) == ANSWER
    server.answers = [(500, {}, b"<html>")]
    with pytest.raises(InferenceError, match="500: no reason was given"):
        client.infer("m", REQUEST)
    server.answers = [refusal("deadline", retry_after="1", retry_after_ms="240")]
    with pytest.raises(InferenceError, match="503: no") as caught:
        client.infer("m", REQUEST)
    assert (caught.value.status, caught.value.reason, caught.value.retry_after) == (503, "deadline", 0.24)


def test_a_server_that_sends_a_byte_at_a_time_is_given_up_when_the_time_is_over() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}", caller=Caller(Retry(attempts=1)))
        answering = threading.Thread(target=trickle, args=(listening,))
        answering.start()
        with client, pytest.raises(TimeoutError):
            client.infer("m", REQUEST, timeout=0.2)
        answering.join()


def trickle(listening: socket.socket) -> None:
    """Begins an answer of a thousand bytes, which takes ten seconds if nobody hangs up."""
    connection, _ = listening.accept()
    with connection, suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b" ")
            time.sleep(0.01)


def test_an_answer_that_breaks_off_is_tried_again(server: Server, client: Client) -> None:
    server.answers = [(200, {"content-length": "1000", "connection": "close"}, b"{"), ok()]
    assert client.infer("m", REQUEST) == ANSWER


def test_a_server_that_is_not_there_is_a_connection_error(server: Server) -> None:
    caller = Caller(Retry(attempts=2), sleep=lambda _: None)
    with Client("http://127.0.0.1:1", caller=caller) as client, pytest.raises(ConnectionRefusedError):
        client.infer("m", REQUEST)
    assert caller.counts.requests == 1


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://somewhere", "http://", ""])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is no address of a server"):
        Client(url)
