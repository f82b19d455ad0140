"""Who takes a new connection, where several data planes accept from one listening socket.

A connection stays with the process that accepted it, and with it all its requests; so connections should be spread
evenly. Whoever holds the fewest takes a new one at once. One that holds more leaves it to the others for a moment,
and then takes it after all, since they may be busy or gone. One that cannot serve leaves connections alone while
another one can; when none can, each takes them, to say why.
"""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable, Sequence

import structlog

from sloctl.board import PlaneStatus

log = structlog.get_logger("sloctl.serving")
_MOMENT = 0.005  # longer than the turn of a busy loop, shorter than anybody notices when connecting
_CLOSED = 0.05  # between two looks of one that cannot serve
_PATIENCE = 1.0  # the others beat every 0.1 s
_FULL = 1.0  # from one attempt to the next where the process or the machine has no room for another connection
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Door:
    """Accepts for one process; lives in its event loop. `held` counts its connections, `serves` says if it can."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        status: PlaneStatus,
        others: Sequence[PlaneStatus],
        held: Callable[[], int],
        serves: Callable[[], bool],
    ) -> None:
        self._sock, self._protocol = sock, protocol
        self._status, self._others = status, others
        self._held, self._serves = held, serves
        self._loop = asyncio.get_running_loop()
        self._entering: set[asyncio.Task[None]] = set()
        self._open = False

    def open(self) -> None:
        """Begins to accept."""
        self._open = True
        self._sock.setblocking(False)
        self.offer()
        self._loop.add_reader(self._sock.fileno(), self._look)

    def close(self) -> None:
        """Accepts no more; the socket itself belongs to all processes and stays open."""
        self._open = False
        self._status.offer(None)
        self._loop.remove_reader(self._sock.fileno())

    def offer(self) -> None:
        """Tells the other processes how many connections are held here, now and then and at every change."""
        self._status.offer(self._count if self._open and self._serves() else None)

    @property
    def _count(self) -> int:
        return self._held() + len(self._entering)

    def _look(self) -> None:
        """A connection waits: takes it, or leaves it to the others for a while."""
        self.offer()
        pause = self._pause()
        if not pause:
            if self._accept():
                return
            pause = _FULL
        self._loop.remove_reader(self._sock.fileno())
        self._loop.call_later(pause, self._look_again, pause == _MOMENT)

    def _look_again(self, waited: bool) -> None:
        if not self._open:
            return
        if waited and not self._accept():  # nobody else has taken it, if it is still there
            self._loop.call_later(_FULL, self._look_again, False)
            return
        self._loop.add_reader(self._sock.fileno(), self._look)

    def _pause(self) -> float:
        now = time.monotonic()
        counts = [count for other in self._others if (count := other.offered(now, _PATIENCE)) is not None]
        if not counts:
            return 0.0
        if not self._serves():
            return _CLOSED
        return _MOMENT if self._count > min(counts) else 0.0

    def _accept(self) -> bool:
        """Takes a connection, if it is still there; False where there is no room for one, which then waits."""
        try:
            connection, _ = self._sock.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                why = os.strerror(error.errno).lower()
                log.error("a connection cannot be accepted: clients wait", why=why, connections=self._count)
                return False
            return True  # another process was faster, or the client has gone
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._enter(connection))
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)
        self.offer()
        return True

    async def _enter(self, connection: socket.socket) -> None:
        await self._loop.connect_accepted_socket(self._protocol, connection)
