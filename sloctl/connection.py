"""HTTP connections of both planes: uvicorn's, with a bound on what a request may send besides its body.

The parser itself has none, and keeps names, values and an unfinished line in memory for as long as they grow.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 64 * 1024  # bytes of a request line, headers and trailers; what one read brings may go beyond it
_FRAME = 32  # bytes that a chunk of a body may need around it
_REFUSAL = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(HttpToolsProtocol):
    """A connection that is closed when a request's head or trailer does not end."""

    _besides = 0  # bytes of this request that were no body

    def data_received(self, data: bytes) -> None:
        """Parses what came."""
        self._besides += len(data)
        super().data_received(data)
        if self._besides > MOST_HEAD:
            self._refuse()

    def on_body(self, body: bytes) -> None:
        """A part of the body, which the application bounds by itself."""
        self._besides = max(self._besides - len(body) - _FRAME, 0)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._besides = 0
        super().on_message_complete()

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # else an answer to another request may be under way
            self.transport.write(_REFUSAL)
        self.transport.close()
