"""Which process a plane is, what it is doing and whether it still beats."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from sloctl.board.layout import MESSAGE_WORDS, RESTARTS_WORD
from sloctl.board.memory import Memory
from sloctl.telemetry.catalogue import RESTART_REASONS


class Phase(IntEnum):
    """What a plane is doing."""

    DOWN = 0
    STARTING = 1
    RUNNING = 2
    DRAINING = 3


class Ending(IntEnum):
    """Exit statuses by which a plane asks for a new process, since nothing else helps."""

    DEVICE_LOST = 70  # a sticky CUDA error: every later call of this process fails
    ENGINE_HANGS = 71  # every variant of a model hangs


@dataclass(frozen=True, slots=True)
class StatusReading:
    """A plane's status; `heartbeat` and `started` are monotonic seconds, comparable across processes.

    `restarts` by reason, and `ended`, how its last process ended ("" before any did).
    """

    pid: int
    phase: Phase
    heartbeat: float
    started: float
    restarts: Mapping[str, int] = field(default_factory=dict)
    ended: str = ""

    def alive(self, now: float, patience: float) -> bool:
        """Whether the plane has beaten within `patience` seconds."""
        return self.phase is not Phase.DOWN and now - self.heartbeat <= patience


class PlaneStatus:
    """A plane's status words; each has one writer at a time (the plane, or the supervisor once it is gone)."""

    def __init__(self, memory: Memory, start: int) -> None:
        self._memory = memory
        self._start = start
        self._restarts = start + RESTARTS_WORD
        self._words = self._restarts + len(RESTART_REASONS)

    def begin(self, pid: int, now: float) -> None:
        """A new process takes the plane over."""
        self._memory.ints[self._start] = pid
        self._memory.floats[self._start + 3] = now
        self.offer(None)
        self.beat(now)
        self.enter(Phase.STARTING)

    def enter(self, phase: Phase) -> None:
        """Sets the phase."""
        self._memory.ints[self._start + 1] = int(phase)

    def beat(self, now: float) -> None:
        """Says that the plane's loop is turning."""
        self._memory.floats[self._start + 2] = now

    def offer(self, connections: int | None) -> None:
        """Says how many connections the plane holds; None while it should get none."""
        self._memory.ints[self._start + 4] = -1 if connections is None else connections

    def offered(self, now: float, patience: float) -> int | None:
        """How many connections a plane holds that runs, beats and wants more; None of any other."""
        ints, floats, start = self._memory.ints, self._memory.floats, self._start
        if ints[start + 1] != Phase.RUNNING or now - floats[start + 2] > patience or ints[start + 4] < 0:
            return None
        return ints[start + 4]

    def last_words(self, text: str) -> None:
        """Says how this process ends, for those who ask after it."""
        self._memory.write_record(self._words, lambda: self._memory.write_text(self._words + 1, MESSAGE_WORDS, text))

    def count_restart(self, reason: str) -> None:
        """Counts a restart for one of the catalogue's RESTART_REASONS; the supervisor alone calls it."""
        self._memory.ints[self._restarts + RESTART_REASONS.index(reason)] += 1

    def read(self) -> StatusReading:
        """The status as it is now."""
        ints, floats, start = self._memory.ints, self._memory.floats, self._start
        ended = self._memory.read_record(self._words, lambda: self._memory.read_text(self._words + 1, MESSAGE_WORDS))
        restarts = {reason: ints[self._restarts + i] for i, reason in enumerate(RESTART_REASONS)}
        return StatusReading(ints[start], Phase(ints[start + 1]), floats[start + 2], floats[start + 3], restarts, ended)
