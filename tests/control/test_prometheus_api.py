"""Answers of a Prometheus over a real socket: which are of one query, and which of the Prometheus as a whole."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from sloctl.config.daemon import PrometheusConfig
from sloctl.control.prometheus_api import PrometheusApi, QueryError, SourceError


class Server(HTTPServer):
    status, answer = 200, b""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield it
    it.shutdown()
    it.server_close()


def asked(server: Server) -> dict[int, float]:
    config = PrometheusConfig.model_validate({"url": f"http://127.0.0.1:{server.server_address[1]}", "timeout": "2s"})
    return dict(PrometheusApi(config, Path()).query_range("up", 0, 120, 60))


def matrix(*values: list[Any]) -> bytes:
    series = [{"metric": {}, "values": each} for each in values]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()


def test_values_that_are_no_numbers_are_left_out(server: Server) -> None:
    server.answer = matrix([[0, "1"], [60, "NaN"], [120, "+Inf"]])
    assert asked(server) == {0: 1.0}


@pytest.mark.parametrize("status", [400, 422])
def test_what_it_refuses_is_the_query(server: Server, status: int) -> None:
    server.status, server.answer = status, b'{"status": "error", "errorType": "execution", "error": "many-to-many"}'
    with pytest.raises(QueryError, match=f"{status}: many-to-many"):
        asked(server)


def test_several_series_are_the_querys_fault(server: Server) -> None:
    server.answer = matrix([[0, "1"]], [[0, "2"]])
    with pytest.raises(QueryError, match="expected one series, got 2"):
        asked(server)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (503, b'{"status": "error", "error": "query timed out"}'),
        (401, b'{"status": "error", "error": "unauthorized"}'),
        (400, b"<html>a proxy</html>"),
        (200, b"not JSON"),
        (200, matrix([[float("inf"), "1"]])),
        (200, matrix([[0, "one"]])),
    ],
)
def test_all_else_is_its_own_and_always_told(server: Server, status: int, answer: bytes) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(SourceError) as told:
        asked(server)
    assert not isinstance(told.value, QueryError)
