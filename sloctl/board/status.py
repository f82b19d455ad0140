"""Which process a plane is, what it is doing and whether it still beats."""

from dataclasses import dataclass
from enum import IntEnum

from sloctl.board.memory import Memory


class Phase(IntEnum):
    """What a plane is doing."""

    DOWN = 0
    STARTING = 1
    RUNNING = 2
    DRAINING = 3


@dataclass(frozen=True, slots=True)
class StatusReading:
    """A plane's status; `heartbeat` and `started` are monotonic seconds, comparable across processes."""

    pid: int
    phase: Phase
    heartbeat: float
    started: float

    def alive(self, now: float, patience: float) -> bool:
        """Whether the plane has beaten within `patience` seconds."""
        return self.phase is not Phase.DOWN and now - self.heartbeat <= patience


class PlaneStatus:
    """A plane's status words; each has one writer at a time (the plane, or the supervisor once it is gone)."""

    def __init__(self, memory: Memory, start: int) -> None:
        self._memory = memory
        self._start = start

    def begin(self, pid: int, now: float) -> None:
        """A new process takes the plane over."""
        self._memory.ints[self._start] = pid
        self._memory.floats[self._start + 3] = now
        self.beat(now)
        self.enter(Phase.STARTING)

    def enter(self, phase: Phase) -> None:
        """Sets the phase."""
        self._memory.ints[self._start + 1] = int(phase)

    def beat(self, now: float) -> None:
        """Says that the plane's loop is turning."""
        self._memory.floats[self._start + 2] = now

    def read(self) -> StatusReading:
        """The status as it is now."""
        ints, floats, start = self._memory.ints, self._memory.floats, self._start
        return StatusReading(ints[start], Phase(ints[start + 1]), floats[start + 2], floats[start + 3])
