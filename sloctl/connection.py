"""HTTP connections of both planes: uvicorn's, with bounds on what a request may send besides its body, and on its time.

The parser itself has none: it keeps names, values and an unfinished line in memory for as long as they grow, and waits
for the rest of a request for as long as its client likes. A head has to be whole 20 s after the connection was made, or
after its first byte; of a body at least 10 KiB have to come in every 20 s (Apache's mod_reqtimeout has 20 s and 500
bytes/s). Of an answer that lies here for want of a reader something has to be read in every 20 s. A timer runs only
while something of a request is missing or an answer is large, so one that arrives whole costs none.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 64 * 1024  # bytes of a request line, headers and trailers; what one read brings may go beyond it
PATIENCE = 20.0  # seconds for a head, and from one look at a body to the next
LEAST = 10 * 1024  # bytes of a body between two looks
_FRAME = 32  # bytes that a chunk of a body may need around it
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(HttpToolsProtocol):
    """A connection that is closed when a request does not end, or its answer is not read."""

    _besides = 0  # bytes of this request that were no body
    _whole: object = None  # the scope of the last request that ended with this read; what began after it has another
    _came = 0  # bytes since the last look
    _look: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Waits for a first request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._unwatch()
        self._unwatch_reader()
        self._unset_keepalive_if_required()  # uvicorn leaves the timer where a client resets
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what came."""
        self._besides += len(data)
        self._whole = None
        HttpToolsProtocol.data_received(self, data)  # `super()` would cost as much as the call, with every request
        if self._whole is None or self._whole is not self.scope:
            self._came += len(data)
            if self._look is None:
                self._watch()
        elif self._look is not None:
            self._unwatch()
            self._idle()
        if self._besides > MOST_HEAD:
            self._refuse(_TOO_LARGE)

    def _idle(self) -> None:
        """Counts idle time after a request whose answer came before its end, which stopped uvicorn's count."""
        if self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_body(self, body: bytes) -> None:
        """A part of the body, which the application bounds by itself."""
        self.discount(body)
        HttpToolsProtocol.on_body(self, body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.end_request()
        HttpToolsProtocol.on_message_complete(self)

    def discount(self, body: bytes) -> None:
        """A part of what came was body."""
        besides = self._besides - len(body) - _FRAME
        self._besides = besides if besides > 0 else 0

    def end_request(self) -> None:
        """Nothing of the request is missing."""
        self._besides = 0
        self._whole = self.scope

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered: nothing more is written until it does."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if not self.transport.is_closing():  # else it has to read all of it
            self._unwatch_reader()

    def timeout_keep_alive_handler(self) -> None:
        """It has been idle for long enough, and has read everything by now."""
        super().timeout_keep_alive_handler()
        self._watch_reader()

    def _watch_reader(self) -> None:
        if self._reading is None and (left := self.transport.get_write_buffer_size()):
            self._reading = self.loop.call_later(PATIENCE, self._check_reader, left)

    def _unwatch_reader(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _check_reader(self, left: int) -> None:
        self._reading = None
        if self.transport.get_write_buffer_size() < left:
            self._watch_reader()
        else:
            self.transport.abort()

    def _watch(self) -> None:
        self._came = LEAST  # a first look comes too early to tell of a body
        self._look = self.loop.call_later(PATIENCE, self._check)

    def _unwatch(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _check(self) -> None:
        """Looks whether what is missing comes along; if not, that is the end of it."""
        cycle = self.cycle
        if self.transport.is_closing():
            self.transport.abort()  # its client does not even read why
        elif not self._besides and (cycle is None or cycle.response_complete):
            self.transport.close()  # it has asked for nothing
        elif cycle is None or cycle.response_complete:
            self._refuse(_TOO_SLOW)  # a head
        elif cycle.more_body and not self.flow.read_paused and self._came < LEAST:
            self._refuse(_TOO_SLOW)
        else:  # the body comes along, or it is for us to go on: to read, or to answer an earlier request
            self._came = 0
            self._look = self.loop.call_later(PATIENCE, self._check)

    def _refuse(self, answer: bytes) -> None:
        cycle = self.cycle
        unanswered = cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline
        if cycle is None or cycle.response_complete or unanswered:  # else an answer to an earlier one may be under way
            self.transport.write(answer)
        self.transport.close()
