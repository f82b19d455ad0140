"""Time slices: from counts of events to counts of slices, which are then the events of an SLO.

Slice k holds what happened in (k × length, (k + 1) × length] on the time axis, as Prometheus' ranges do. It
counts when it is over: at the very moment of its end, or with the first tick after it.
"""

import math
from collections.abc import Iterable, Sequence

from sloctl.slo.history import Row
from sloctl.slo.objective import SLICE_PARTS, Objective, Slices
from sloctl.slo.rings import Counts

SLICE = -1  # in the place of a row's resolution; the slot is when the open slice began, in seconds of the time axis
SLACK = 1e-9  # below a slice's target, since shares of increases are rounded


def judged(good: int, total: int, slices: Slices) -> tuple[int, int]:
    """A slice with these events as good and total events itself, in parts."""
    if total <= 0:
        return 0, 0
    share = good / total
    if slices.target is None:
        return round(share * SLICE_PARTS), SLICE_PARTS
    return int(share > slices.target - SLACK), 1


class Slicer:
    """Turns the counts of those SLOs that have slices into counts of slices; those of the others pass.

    One tick advances it. `restore` continues a slice over a restart.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        found = [(i, o.name, o.slices) for i, o in enumerate(objectives) if o.slices]
        self._open = {column: _Open(name, slices) for column, name, slices in found}

    def advance(self, now: float, good: Counts, total: Counts, base: Counts) -> tuple[Counts, Counts]:
        """Good and total of all SLOs `[SLOs]` with slices in place of their events; `base` were the last ones."""
        if not self._open:
            return good, total
        good, total = good.copy(), total.copy()
        for column, current in self._open.items():
            events = (int(good[column]), int(total[column]))
            gained = current.advance(now, *events)
            good[column], total[column] = base[0, column] + gained[0], base[1, column] + gained[1]
        return good, total

    def unsaved(self) -> list[Row]:
        """The open slices, each with the counts at its start."""
        return [current.row() for current in self._open.values() if current.index is not None]

    def restore(self, rows: Iterable[Row]) -> None:
        """Goes on with the open slices of `unsaved`; the counts of events must go on, too."""
        by_name = {current.name: current for current in self._open.values()}
        for name, ring, slot, good, total in rows:
            if ring == SLICE and name in by_name:
                by_name[name].resume(slot, (good, total))


class _Open:
    """The open slice of one SLO: its number, and the counts of events at its start and now."""

    def __init__(self, name: str, slices: Slices) -> None:
        self.name = name
        self.index: int | None = None
        self._slices = slices
        self._start = (0, 0)
        self._last: tuple[int, int] | None = None

    def resume(self, began: int, start: tuple[int, int]) -> None:
        index = began // self._slices.seconds
        if self.index is None or index >= self.index:
            self.index, self._start = index, start

    def row(self) -> Row:
        # In seconds, not as a number: of slices of several lengths the earliest tells a store what it may drop.
        return (self.name, SLICE, (self.index or 0) * self._slices.seconds, *self._start)

    def advance(self, now: float, good: int, total: int) -> tuple[int, int]:
        """Good and total slices (in parts) that ended with this tick."""
        length = self._slices.seconds
        inside = math.ceil(now / length) - 1
        gained = (0, 0)
        last = self._last or (good, total)  # after a restart, what came meanwhile belongs to the slice it left
        if self.index is None:
            self.index, self._start = inside, (good, total)
        elif good < last[0] or total < last[1]:  # the source began anew
            self._start = (good, total)
        elif inside > self.index:
            gained = self._judged(*last)
            self.index, self._start = inside, last
        self._last = (good, total)
        if now == (self.index + 1) * length:
            gained = (gained[0] + (ended := self._judged(good, total))[0], gained[1] + ended[1])
            self.index, self._start = self.index + 1, (good, total)
        return gained

    def _judged(self, good: int, total: int) -> tuple[int, int]:
        return judged(good - self._start[0], total - self._start[1], self._slices)
