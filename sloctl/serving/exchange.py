"""Connections of the data plane: an inference request that came whole is answered without ASGI.

Most requests come in a single read, on a connection where nothing else is under way. For these a scope, a queue of
messages and the checks of every header on the way out cost more than the inference of a small model, so the connection
has them answered by itself: refused at once while the model refuses (`refusing`), else by a task for the application's
`infer`. Everything else, an unusual request or one that comes in parts, goes uvicorn's way through ASGI.
"""

from uvicorn import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from sloctl.connection import Connection
from sloctl.serving.encode import Header
from sloctl.serving.http import HttpApp
from sloctl.serving.refusing import Refuser

_SMALL = 64 * 1024  # bytes of a body that is copied behind its head rather than written by itself


class _Nobody:
    """In the place of an event that nobody waits for."""

    def set(self) -> None:
        """Wakes nobody."""


class Exchange:
    """A request that is whole, and its answer; to uvicorn what its own `RequestResponseCycle` is."""

    __slots__ = ("_connection", "disconnected", "keep_alive", "response_complete")
    more_body = response_started = False
    message_event = _Nobody()

    def __init__(self, connection: "ServingConnection") -> None:
        self._connection = connection
        self.keep_alive = True
        self.disconnected = self.response_complete = False

    async def run(self, app: HttpApp, path: str, headers: list[Header], body: bytes) -> None:
        """Answers it."""
        connection = self._connection
        try:
            found = await app.infer(path, headers, body, self)
            if connection.flow.write_paused and not self.disconnected:
                await connection.flow.drain()
            if found is not None and not connection.transport.is_closing():  # known before `disconnected` is
                self._write(*found)
        finally:
            if not self.response_complete:
                connection.transport.close()

    def _write(self, status: int, headers: list[Header], body: bytes) -> None:
        parts = [STATUS_LINE[status]]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
            if name == b"connection":
                self.keep_alive = False
        if not self.keep_alive and (b"connection", b"close") not in headers:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        transport = self._connection.transport
        if len(body) <= _SMALL:
            transport.write(b"".join((*parts, body)))
        else:
            transport.writelines((b"".join(parts), body))
        self.response_complete = True
        if not self.keep_alive:
            transport.close()
        self._connection.on_response_complete()


class ServingConnection(Connection):
    """A connection of the data plane: holds an inference request back while it is being read."""

    flow: FlowControl
    _held: list[bytes] | None = None  # the parts of its body

    def __init__(self, config: Config, state: ServerState, app: HttpApp, refuser: Refuser) -> None:
        super().__init__(config, state, {})
        self._app = app
        self._refuser = refuser

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self.cycle = None  # type: ignore[assignment]  # which knows its connection: both would wait for the collector

    def data_received(self, data: bytes) -> None:
        """Parses what came; a request that is not whole is not held any longer."""
        Connection.data_received(self, data)
        if self._held is not None:
            self._let_go(self._held)

    def on_headers_complete(self) -> None:
        """Holds the request back, if the connection could answer it by itself."""
        self._unset_keepalive_if_required()  # that of one which came with it and was refused
        if self.url in self._app.infer_urls and self._plain():
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
        """The request is whole: it is refused, or answered."""
        held = self._held
        if held is None:
            Connection.on_message_complete(self)
            return
        self._held = None
        self.end_request()
        self._answer(held[0] if len(held) == 1 else b"".join(held))

    def _answer(self, body: bytes) -> None:
        refuser, url = self._refuser, self.url
        if refuser.expects(url) and (refusal := refuser.answer(url, self.headers, body)) is not None:
            self.transport.write(refusal)
            self.on_response_complete()
            return
        exchange = self.cycle = Exchange(self)  # type: ignore[assignment]  # as much of a cycle as is asked about
        task = self.loop.create_task(exchange.run(self._app, url.decode(), self.headers, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _let_go(self, held: list[bytes]) -> None:
        self._held = None
        HttpToolsProtocol.on_headers_complete(self)
        for part in held:
            HttpToolsProtocol.on_body(self, part)
