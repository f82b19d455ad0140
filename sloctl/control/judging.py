"""SLOs in the control plane: counts from the board into windows and budgets, and their life across restarts."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sloctl.board import Boards, Snapshot
from sloctl.control.indicators import Gauges, Indicators
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Objective
from sloctl.slo.windows import AlertWindow

Counts = NDArray[np.int64]
_SKEW = 60.0  # seconds after which two sides that do not fit are no longer waited for: they count different things


class Judge:
    """Feeds the evaluator with ever-growing counts, whatever restarts beneath them.

    The board's counters begin at zero with each start of the daemon, and an SLO's history goes on; so the
    judge keeps, for each SLO, the last board value it has seen and adds only what is new. After a crash of
    the control plane alone the board is the same one, and what happened meanwhile is added in one step:
    nothing is lost.
    """

    def __init__(
        self,
        objectives: tuple[Objective, ...],
        windows: tuple[AlertWindow, ...],
        board: Boards,
        gauges: Gauges,
    ) -> None:
        self.evaluator = Evaluator(objectives, windows)
        self._board = board
        self._indicators = Indicators(objectives, board.topology, gauges)
        self._names = [objective.name for objective in objectives]
        self._definitions = [objective.definition for objective in objectives]
        self._seen: tuple[Counts, Counts] | None = None
        self.resumed: set[str] = set()  # SLOs whose history goes on; one that counts something else begins anew
        size = len(objectives)
        self._counted = (np.zeros(size, np.int64), np.zeros(size, np.int64))
        self._aside = np.zeros((2, size), np.int64)  # good and total that were left out
        self._columns = {objective.name: column for column, objective in enumerate(objectives)}
        self._fitted = np.full(size, -np.inf)  # when the two sides last fitted

    @property
    def names(self) -> list[str]:
        """The SLOs, in their order."""
        return self._names

    @property
    def no_data(self) -> frozenset[str]:
        """SLOs whose events cannot be counted at present."""
        return self.evaluator.no_data

    def tick(self, now: float, axis: float, snapshot: Snapshot, excluded: Collection[str] = ()) -> None:
        """Adds what is new on the board; `now` is monotonic, `axis` the evaluator's own time (see Timeline).

        What is new of the `excluded` SLOs is set aside.
        """
        good, total = self._indicators.read(snapshot, now)
        if self._seen is None:
            self._seen = (good.copy(), total.copy())
        self._add(now, good, total, [self._columns[name] for name in excluded])
        self.evaluator.advance(axis, *self._counted)

    def _add(self, now: float, good: Counts, total: Counts, excluded: Sequence[int]) -> None:
        """Adds what is new, but waits where the two sides do not fit.

        Counters are written one after the other, so a failure may be seen before its request or after it. Taken as
        they are, good would fall or outgrow total, which looks like a source that began anew, and be lost.
        """
        assert self._seen is not None  # noqa: S101  tick sees to it
        new = good - self._seen[0], total - self._seen[1]
        fits = (new[0] >= 0) & (new[0] <= new[1])
        self._fitted = np.where(fits, now, self._fitted)
        taken = fits | (new[1] < 0) | (now - self._fitted > _SKEW)
        counts = taken.copy()
        counts[list(excluded)] = False
        for counted, aside, seen, more in zip(self._counted, self._aside, self._seen, new, strict=True):
            counted[counts] += more[counts]
            aside[taken & ~counts] += more[taken & ~counts]
            seen[taken] += more[taken]

    def set_aside(self, name: str) -> tuple[float, float]:
        """Good and total events of an SLO that were left out so far."""
        column = self._columns[name]
        good, total = self._aside[:, column].tolist()
        unit = self.evaluator.objectives[column].unit
        return good / unit, total / unit

    def begin(self, snapshot: Snapshot, now: float, saved: dict[str, Any] | None) -> None:
        """Takes up saved counts by SLO name; an SLO that is new counts from this moment on."""
        good, total = self._indicators.read(snapshot, now)
        self._seen = (good.copy(), total.copy())
        self._fitted[:] = now
        if not saved:
            return
        same_board = saved["board"] == self._board.identity
        for index, name in enumerate(self._names):
            was = saved["slos"].get(name)
            if was is None or was["definition"] != self._definitions[index]:
                continue
            self.resumed.add(name)
            for side in (0, 1):
                self._counted[side][index] = was["counted"][side]
                self._aside[side][index] = was.get("aside", (0, 0))[side]
                # Another board began at zero after the last save, so all that is on it is new.
                seen = was["seen"][side] if same_board else 0
                self._seen[side][index] = min(seen, self._seen[side][index])

    def saved(self) -> dict[str, Any]:
        """What `begin` takes up again."""
        if self._seen is None:
            return {"board": self._board.identity, "slos": {}}
        slos = {
            name: {
                "definition": self._definitions[index],
                "counted": [int(side[index]) for side in self._counted],
                "aside": self._aside[:, index].tolist(),
                "seen": [int(side[index]) for side in self._seen],
            }
            for index, name in enumerate(self._names)
        }
        return {"board": self._board.identity, "slos": slos}


class Timeline:
    """The time axis of SLO windows: it runs with the monotonic clock and never backwards over a restart.

    Within a process, steps of the wall clock do not touch it. At a start it begins at the wall clock, or at
    the last saved point where the wall clock has been set back since.
    """

    def __init__(self, now: float, wall: float, last: float | None) -> None:
        self._offset = max(wall, last or 0.0) - now

    def at(self, now: float) -> float:
        """The axis at a monotonic time."""
        return now + self._offset
