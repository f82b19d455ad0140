"""Posting to an Alertmanager over real sockets: the token of the moment, no redirects, no waiting for ever."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sloctl.config.daemon import AlertmanagerConfig, AlertsConfig
from sloctl.control.alertmanager import Sender, notifier, poster
from sloctl.slo.alerting import Active, AlertStates


class Server(ThreadingHTTPServer):
    """Answers as it is told and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.status, self.pause = 200, 0.0
        self.asked: list[tuple[str, str | None, bytes]] = []  # path, authorization, body
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, self.headers["authorization"], body))
        time.sleep(self.server.pause)
        self.send_response(self.server.status)
        self.send_header("location", f"{self.server.url}/elsewhere")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield it
    it.shutdown()
    it.server_close()


def target(url: str, **fields: object) -> AlertmanagerConfig:
    return AlertmanagerConfig.model_validate({"url": url, "timeout": "250ms", **fields})


def test_the_token_is_the_one_that_the_file_holds_now(server: Server, tmp_path: Path) -> None:
    post = poster(target(f"{server.url}/prefix", tokenFile="token"), tmp_path)
    for token in ("first", "second"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert post(b"[]") == 200
    assert server.asked == [("/prefix/api/v2/alerts", f"Bearer {token}", b"[]") for token in ("first", "second")]


def test_a_token_that_is_gone_or_none_is_tried_again_and_sends_nothing(server: Server, tmp_path: Path) -> None:
    sender = Sender("am", poster(target(server.url, tokenFile="token"), tmp_path))
    sender.offer({(("alertname", "A"),): {"labels": {"alertname": "A"}}})
    assert not sender.send()
    (tmp_path / "token").write_bytes(b"two\nlines")
    assert not sender.send()
    (tmp_path / "token").write_bytes(b"\xff")
    assert not sender.send()
    assert (server.asked, sender.counters.failed) == ([], 3)
    (tmp_path / "token").write_text("right")
    assert sender.send()
    assert sender.counters.sent == 1


def test_a_redirect_is_not_followed(server: Server, tmp_path: Path) -> None:
    server.status = 307
    assert poster(target(server.url), tmp_path)(b"[]") == 307
    assert [path for path, _, _ in server.asked] == ["/api/v2/alerts"]


def test_one_that_does_not_answer_in_time_counts_as_failed(server: Server, tmp_path: Path) -> None:
    server.pause = 1.0
    sender = Sender("am", poster(target(server.url), tmp_path))
    sender.offer({(("alertname", "A"),): {}})
    assert not sender.send()
    assert sender.counters.failed == 1


@pytest.mark.parametrize("rest", [b"content-length: 9\r\n\r\n{", b"transfer-encoding: chunked\r\n\r\nno length\r\n"])
def test_an_answer_that_breaks_off_ends_no_sender(rest: bytes, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + rest)
                connection.recv(1 << 16)  # until the other side gives up

        threading.Thread(target=answer, daemon=True).start()
        sender = Sender("am", poster(target(f"http://127.0.0.1:{listener.getsockname()[1]}"), tmp_path))
        sender.offer({(("alertname", "A"),): {}})
        assert sender.send()
    assert sender.counters.sent == 1


def test_a_slow_one_holds_up_neither_the_tick_nor_another(server: Server, tmp_path: Path) -> None:
    slow = Server()
    slow.pause = 5.0
    threading.Thread(target=slow.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    config = AlertsConfig(alertmanagers=[target(slow.url, timeout="4s"), target(server.url)])
    it = notifier(config, tmp_path, "http://daemon")
    assert it is not None
    states = AlertStates()
    states.step(0, [Active({"alertname": "A", "severity": "page"}, {}, 1.0)])
    begin = time.monotonic()
    it.tick(0, 0, states.instances())
    while not server.asked and time.monotonic() - begin < 3:
        time.sleep(0.005)
    assert server.asked
    assert time.monotonic() - begin < 3, "the slow one has not answered yet"
    it.close()
    slow.shutdown()
    slow.server_close()
