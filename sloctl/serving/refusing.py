"""Refusals at the connection: what is refused anyway is answered before there is a task for it.

Under overload most requests are refused, and what that costs the event loop is missing for those that are served. So
while a model refuses requests, one that came whole in a single read is held back until it is known whether it would be
refused. If so the answer is written at once. If only letting it in can tell, it goes the way of all others, as though
it had not been held.
"""

from functools import lru_cache
from http import HTTPStatus

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sloctl.connection import Connection
from sloctl.serving.dataplane import DataPlane
from sloctl.serving.decode import parse_parameters
from sloctl.serving.encode import Header
from sloctl.serving.errors import RequestError
from sloctl.serving.http import HttpApp, told
from sloctl.serving.model import ModelService
from sloctl.serving.tracing import RequestTracer

_REMEMBERED = 1024  # answers: most differ from one before in nothing, or in some milliseconds of Retry-After


class Refuser:
    """Knows the answers to requests that are refused."""

    def __init__(self, plane: DataPlane, app: HttpApp, tracer: RequestTracer | None = None) -> None:
        self._plane, self._app, self._tracer = plane, app, tracer
        self._models: dict[bytes, ModelService] = {path.encode(): model for path, model in app.infer_paths.items()}

    def expects(self, url: bytes) -> bool:
        """Whether requests for that are being refused."""
        model = self._models.get(url)
        return model is not None and model.refusing > 0

    def answer(self, url: bytes, headers: list[Header], body: bytes) -> bytes | None:
        """All that is written to refuse a request; None, and nothing is done, where only the application can tell."""
        plane, model = self._plane, self._models[url]
        now = plane.clock()
        try:
            json_length, asked = self._app.check_headers(headers)
            found = plane.refuse(model, asked, lambda: parse_parameters(body, json_length), now)
        except RequestError:  # which the application will find, too, and count
            return None
        if found is None:
            return None
        error, priority = found
        if self._tracer is not None and (trace := self._tracer.begin(model.name, headers, now)) is not None:
            trace.priority, trace.outcome = priority, error.outcome
            self._tracer.end(trace, url.decode(), error.status, error.reason)
        return _written(error.status, error.message, error.reason, error.retry_after_ms)


class ServingConnection(Connection):
    """A connection of the data plane: holds a request back while it is being read, and asks the refuser about it."""

    _held: list[bytes] | None = None  # the parts of its body

    def __init__(self, config: Config, state: ServerState, refuser: Refuser) -> None:
        super().__init__(config, state, {})
        self._refuser = refuser

    def data_received(self, data: bytes) -> None:
        """Parses what came; a request that is not whole is not held any longer."""
        Connection.data_received(self, data)
        if self._held is not None:
            self._let_go(self._held)

    def on_headers_complete(self) -> None:
        """Holds the request back, if it may be refused."""
        if self._refuser.expects(self.url) and self._plain():
            self._held = []
        else:
            HttpToolsProtocol.on_headers_complete(self)

    def _plain(self) -> bool:
        """Whether it is a POST like all others, nothing is to be answered before it, and its client reads."""
        parser, cycle = self.parser, self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not (parser.should_upgrade() or self.expect_100_continue or self.flow.write_paused)
        )

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._held is not None:
            self.discount(body)
            self._held.append(body)
        else:
            Connection.on_body(self, body)

    def on_message_complete(self) -> None:
        """The request is whole: it is refused, or handed on."""
        held = self._held
        if held is not None:
            body = held[0] if len(held) == 1 else b"".join(held)
            answer = self._refuser.answer(self.url, self.headers, body)
            if answer is not None:
                self._held = None
                self.end_request()
                self.transport.write(answer)
                self.on_response_complete()
                return
            self._let_go(held)
        Connection.on_message_complete(self)

    def _let_go(self, held: list[bytes]) -> None:
        self._held = None
        self._unset_keepalive_if_required()  # one that came with it may have been refused
        HttpToolsProtocol.on_headers_complete(self)
        for part in held:
            HttpToolsProtocol.on_body(self, part)


@lru_cache(_REMEMBERED)
def _written(status: int, message: str, reason: str, wait: int | None) -> bytes:
    headers, body = told(message, reason, wait)
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()), *map(b": ".join, headers), b"", body]
    return b"\r\n".join(lines)
