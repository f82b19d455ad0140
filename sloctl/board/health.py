"""Health levels on the board: state, time of the last success and a message for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from sloctl.board.layout import MESSAGE_WORDS, HealthPlace
from sloctl.board.memory import Memory


class LevelState(IntEnum):
    """State of one of the five levels of a variant."""

    UNKNOWN = 0  # not reached yet
    PASSING = 1
    MISSED = 2  # a single miss, tolerated
    FAILING = 3
    DEGRADED = 4  # stands, but something beside it is lost; the message says what

    @property
    def serves(self) -> bool:
        """Whether readiness stands with this state."""
        return self in (LevelState.PASSING, LevelState.MISSED, LevelState.DEGRADED)


_GRAVITY = (LevelState.PASSING, LevelState.DEGRADED, LevelState.MISSED, LevelState.UNKNOWN, LevelState.FAILING)


def worst(states: Iterable[LevelState]) -> LevelState:
    """The gravest of the states of one level on several devices."""
    return max(states, key=_GRAVITY.index)


@dataclass(frozen=True, slots=True)
class LevelReading:
    """A level as read: `last_success` is monotonic seconds, 0 if it never passed."""

    state: LevelState
    last_success: float
    message: str


class HealthCell:
    """One level of one variant; the data plane writes, all read."""

    def __init__(self, memory: Memory, place: HealthPlace) -> None:
        self._memory = memory
        self._start = place.start

    def write(self, state: LevelState, message: str, now: float) -> None:
        """Sets state and message; a success (passing or degraded) is dated `now` (monotonic seconds)."""

        def put() -> None:
            self._memory.ints[self._start + 1] = int(state)
            if state in (LevelState.PASSING, LevelState.DEGRADED):
                self._memory.floats[self._start + 2] = now
            self._memory.write_text(self._start + 3, MESSAGE_WORDS, message)

        self._memory.write_record(self._start, put)

    def read(self) -> LevelReading:
        """The level as it is now."""

        def get() -> LevelReading:
            return LevelReading(
                LevelState(self._memory.ints[self._start + 1]),
                self._memory.floats[self._start + 2],
                self._memory.read_text(self._start + 3, MESSAGE_WORDS),
            )

        return self._memory.read_record(self._start, get)
