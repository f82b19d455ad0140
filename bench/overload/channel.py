"""HTTP for load: connections that send prepared bytes and look at no more of the answer than status and two headers.

A driver that shares its machine with the daemon has to be light: about 40 µs a request, where a full client takes ten
times that. Connections are kept and used again, the latest first; where none is free another one is made, so that no
request waits for an answer.
"""

import asyncio
import re
from urllib.parse import urlsplit

from sloctl.load.driver import Answer

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_VARIANT = re.compile(rb"sloctl-variant: (\S+)", re.IGNORECASE)
_RETRY = re.compile(rb"retry-after-ms: (\d+)", re.IGNORECASE)
_REASON = re.compile(rb'"reason": ?"([a-z_]+)"')


class Channel(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes, bytes]] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop's call."""
        self.transport = transport  # type: ignore[assignment]  # a TCP connection has both directions

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop's call: nobody will answer."""
        self.transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes, bytes]]":
        """Sends a request; the future gets status, head and body."""
        self._answer = asyncio.get_running_loop().create_future()
        self._data = b""
        if self.transport is None:
            self._answer.set_exception(ConnectionResetError("the server closed the connection"))
        else:
            self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """The loop's call."""
        data = self._data = self._data + data if self._data else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(data, 0, end)
        start = end + 4
        if length is not None and len(data) - start < int(length[1]):
            return
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(data[9:12]), data[:end], data[start:]))


class Channels:
    """The connections of one driver to one server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._idle: list[Channel] = []

    async def exchange(self, request: bytes, patience: float) -> Answer:
        """Sends it and waits for the answer, `patience` seconds at most, then hangs up. Never raises."""
        channel = None
        try:
            async with asyncio.timeout(patience):
                channel = await self._free()
                status, head, body = await channel.ask(request)
        except TimeoutError:
            _close(channel)
            return Answer(0, reason="timeout")
        except OSError as error:
            _close(channel)
            return Answer(0, reason=type(error).__name__)
        self._idle.append(channel)
        if status == 200:
            found = _VARIANT.search(head)
            return Answer(200, variant=found[1].decode() if found else None)
        reason, retry = _REASON.search(body), _RETRY.search(head)
        after = float(retry[1]) / 1000 if retry else None
        return Answer(status, reason=reason[1].decode() if reason else None, retry_after=after)

    async def prepare(self, count: int) -> None:
        """Makes so many connections beforehand."""
        self._idle += await asyncio.gather(*(self._connected() for _ in range(count)))

    async def _free(self) -> Channel:
        while self._idle:
            channel = self._idle.pop()
            if channel.transport is not None:
                return channel
        return await self._connected()

    async def _connected(self) -> Channel:
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(Channel, self._host, self._port)
        return channel

    def close(self) -> None:
        """Closes those that are free."""
        for channel in self._idle:
            _close(channel)
        self._idle.clear()


def _close(channel: Channel | None) -> None:
    if channel is not None and channel.transport is not None:
        channel.transport.abort()
