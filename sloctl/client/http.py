"""A small client of the Open Inference Protocol V2 over HTTP, in JSON, by the standard library."""

import json
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPMessage, HTTPResponse, HTTPSConnection, IncompleteRead
from socket import socket
from ssl import SSLEOFError, SSLZeroReturnError
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from sloctl.client.caller import Caller
from sloctl.client.errors import InferenceError

_PIECE = 1 << 20  # bytes
_FRESH = 30.0  # seconds; servers close connections that are idle for longer
_CLOSED = (ConnectionError, SSLEOFError, SSLZeroReturnError)


class Client:
    """Inferences of models at `url`; to be used from any number of threads. `timeout` is for a request in all, seconds.

    `headers` go with every request. Large tensors are better sent in binary, by tritonclient in a `Caller`.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        timeout: float = 10.0,
        headers: Mapping[str, str] | None = None,
        caller: Caller | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a server; expected one such as http://127.0.0.1:8000")
        self.caller = caller or Caller()
        self._make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._timeout = timeout
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._idle: deque[tuple[float, HTTPConnection]] = deque()

    def infer(self, model: str, request: Mapping[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """V2's response to V2's `request`, both as in JSON; the server is told how much time is left.

        Raises InferenceError for an answer without a result, ThrottledError where nothing was sent, OSError where
        there is no connection.
        """
        path = f"{self._path}/v2/models/{quote(model, safe='')}/infer"

        def send(left: float | None) -> dict[str, Any]:
            given = self._timeout if left is None else left
            parameters = {**request.get("parameters", {}), "timeout": max(int(given * 1e6), 1)}
            return self._post(path, json.dumps({**request, "parameters": parameters}).encode(), given)

        return self.caller.call(send, self._timeout if timeout is None else timeout)

    def _post(self, path: str, body: bytes, timeout: float) -> dict[str, Any]:
        end = time.monotonic() + timeout
        connection, answer, sock = self._begin(path, body, end)
        try:
            said = _body(answer, sock, end)
        except BaseException:
            connection.close()  # whatever comes over it later would be the answer to another request
            raise
        if answer.will_close:
            connection.close()
        else:
            self._idle.append((time.monotonic(), connection))
        if answer.status != 200:
            raise _error(answer.status, answer.headers, said)
        found: dict[str, Any] = json.loads(said)
        return found

    def _begin(self, path: str, body: bytes, end: float) -> tuple[HTTPConnection, HTTPResponse, socket]:
        """Sends a request and waits for the head of its answer.

        A connection that was used before may have been closed meanwhile, which says nothing of this request nor of the
        server: if it ends before the head of an answer, the request goes once more, at once and over a new one. To the
        throttle and the budget that is no retry.
        """
        idle = self._from_idle()
        if idle is not None:
            idle.sock.settimeout(_until(end))
            with suppress(*_CLOSED):
                return idle, *self._head(idle, path, body, end)
        connection = self._make(self._host, self._port, timeout=_until(end))
        return connection, *self._head(connection, path, body, end)

    def _head(self, connection: HTTPConnection, path: str, body: bytes, end: float) -> tuple[HTTPResponse, socket]:
        try:
            connection.request("POST", path, body, self._headers)
            sock = connection.sock  # which the connection gives up with an answer that is its last
            sock.settimeout(_until(end))
            return connection.getresponse(), sock
        except BaseException:
            connection.close()
            raise

    def _from_idle(self) -> HTTPConnection | None:
        with suppress(IndexError):  # none is idle
            while True:
                since, connection = self._idle.pop()
                if time.monotonic() - since < _FRESH and connection.sock is not None:
                    return connection
                connection.close()
        return None

    def close(self) -> None:
        """Closes the idle connections."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[1].close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.close()


def _body(answer: HTTPResponse, sock: socket, end: float) -> bytes:
    """The body, until `end`: a socket's time-out is for each piece that comes, and a slow server sends many."""
    parts = []
    sock.settimeout(_until(end))
    while part := answer.read1(_PIECE):
        parts.append(part)
        sock.settimeout(_until(end))
    if answer.length:
        raise IncompleteRead(b"".join(parts), answer.length)
    answer.read()  # nothing is left, and the connection free for the next request
    return b"".join(parts)


def _until(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def retry_after(headers: Mapping[str, str] | HTTPMessage, now: float) -> float | None:
    """Seconds of `retry-after-ms`, or else `Retry-After` in either of its forms; `now` is Unix time."""
    try:
        if (exact := headers.get("retry-after-ms")) is not None:
            return float(exact) / 1000
        if (told := headers.get("retry-after")) is None:
            return None
        return float(told) if told.strip().isdigit() else parsedate_to_datetime(told).timestamp() - now
    except ValueError:
        return None


def _error(status: int, headers: HTTPMessage, body: bytes) -> InferenceError:
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    told: dict[str, Any] = said if isinstance(said, dict) else {}
    message = str(told.get("error") or "no reason was given")
    return InferenceError(status, message, str(told.get("reason", "")), retry_after(headers, time.time()))
