"""Five levels of health for each variant, and how a probe's result is judged. Pure but for the board's cells."""

from enum import Enum

from sloctl.board import Board, LevelState
from sloctl.telemetry.catalogue import HEALTH_LEVELS

PROBE_SHARE = 0.005  # of time: what probes may cost


class ProbeOutcome(Enum):
    """What a probe said."""

    PASSED = "passed"
    FAILED = "failed"
    BUSY = "busy"  # no answer in time, but batches succeed meanwhile


def judge(state: LevelState, outcome: ProbeOutcome) -> LevelState:
    """The level after a probe: a single miss is tolerated, a second in a row fails, a success resets.

    Being busy changes nothing: load is not illness.
    """
    if outcome is ProbeOutcome.PASSED:
        return LevelState.PASSING
    if outcome is ProbeOutcome.BUSY:
        return state
    return LevelState.MISSED if state in (LevelState.PASSING, LevelState.DEGRADED) else LevelState.FAILING


class VariantHealth:
    """The five levels of one variant, as they were last written to the board."""

    __slots__ = ("_cells", "states")

    def __init__(self, board: Board, model: str, variant: str) -> None:
        self._cells = {level: board.health(model, variant, level) for level in HEALTH_LEVELS}
        self.states = dict.fromkeys(HEALTH_LEVELS, LevelState.UNKNOWN)
        for level in HEALTH_LEVELS:  # a process before this one may have left its own
            self.set(level, LevelState.UNKNOWN, "not reached yet", 0.0)

    def set(self, level: str, state: LevelState, message: str, now: float) -> None:
        """Writes one level."""
        self.states[level] = state
        self._cells[level].write(state, message, now)

    def judge(self, level: str, outcome: ProbeOutcome, message: str, now: float) -> LevelState:
        """Writes what a probe makes of a level, and returns it."""
        before = self.states[level]
        state = judge(before, outcome)
        if outcome is not ProbeOutcome.BUSY or state is not before:
            self.set(level, state, message, now)
        return state

    @property
    def ready(self) -> bool:
        """Whether all five levels stand."""
        return all(state.serves for state in self.states.values())

    @property
    def trouble(self) -> str:
        """What is in the way of readiness: a level that fails, else the first not reached; empty if none is."""
        bad = [level for level, state in self.states.items() if not state.serves]
        if not bad:
            return ""
        level = next((level for level in bad if self.states[level] is LevelState.FAILING), bad[0])
        return f"{level}: {self._cells[level].read().message}"
