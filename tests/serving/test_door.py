"""The door where there is no room for another connection: it waits, instead of asking all the time."""

import asyncio
import errno
import socket

import pytest

from sloctl.board import Board, ModelTopology, Topology
from sloctl.serving.door import Door

TOPOLOGY = Topology(models=(ModelTopology("m", ("a",)),), priorities=("high",), bounds=(1.0,), exported=(1.0,))
TURNS = 20  # of the loop


class Full(socket.socket):
    """A listening socket whose process has no descriptors left while `errors` says so."""

    errors = ()
    asked = 0

    def accept(self):
        self.asked += 1
        if self.errors:
            raise OSError(self.errors[0], "no room")
        return super().accept()


async def _turns(seconds=0.0):
    for _ in range(TURNS):
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
def test_a_full_process_asks_once_and_not_in_every_turn_of_the_loop(error):
    async def run():
        loop = asyncio.get_running_loop()
        timers = []
        loop.call_later = lambda delay, call, *args: timers.append((delay, call, args))
        board = Board.create(TOPOLOGY)
        with Full() as sock, socket.socket() as client:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            door = Door(sock, asyncio.Protocol, board.data_status, (), lambda: 0, lambda: True)
            Full.errors = (error,)
            door.open()
            client.connect(sock.getsockname())
            await _turns()
            assert sock.asked == 1
            assert [delay >= 1 for delay, _, _ in timers] == [True]
            Full.errors = ()
            _, call, args = timers.pop()
            call(*args)
            await _turns()
            assert sock.asked == 2, "the one that waited is taken"
            door.close()

    asyncio.run(run())
