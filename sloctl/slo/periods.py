"""Calendar periods in progress: for each SLO that has one, when it began and what had been counted by then."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from sloctl.slo.calendars import Calendar
from sloctl.slo.history import Row
from sloctl.slo.objective import Objective
from sloctl.slo.rings import Counts

PERIOD = -2  # in the place of a row's resolution; the slot is the period's beginning in Unix seconds


class Periods:
    """Counts since the period began, exact whatever the length. Time on the axis is Unix time."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        found = [(i, o.name, o.calendar) for i, o in enumerate(objectives) if o.calendar]
        self._open = {column: _Open(name, calendar) for column, name, calendar in found}

    def advance(self, now: float, before: Counts) -> None:
        """Begins what begins; `before` are the counts `[2, SLOs]` of the tick before, which the start takes."""
        for column, period in self._open.items():
            if period.next is None or now > period.next:
                period.enter(now, (int(before[0, column]), int(before[1, column])))

    def insert(self, column: int, times: Sequence[float], good: Sequence[int], total: Sequence[int]) -> None:
        """Takes late events (see `History.insert`): those until its beginning are not the period's."""
        period = self._open.get(column)
        if period is not None and period.begin is not None:
            count = bisect_right(times, period.begin)
            period.start = (period.start[0] + sum(good[:count]), period.start[1] + sum(total[:count]))

    def since(self, column: int, counts: Counts) -> tuple[int, int]:
        """Good and total counts of the period of an SLO so far."""
        good, total = self._open[column].start
        return int(counts[0, column]) - good, int(counts[1, column]) - total

    def began(self, column: int) -> float | None:
        """Unix time at which the period of an SLO began; None before the first tick or without a calendar."""
        period = self._open.get(column)
        return period.begin if period else None

    def unsaved(self) -> list[Row]:
        """The periods in progress."""
        return [p.row() for p in self._open.values() if p.begin is not None]

    def restore(self, rows: Iterable[Row]) -> None:
        """Goes on with periods of `unsaved`, where they are still those of the calendar at the next tick."""
        by_name = {period.name: period for period in self._open.values()}
        for name, ring, begin, good, total in rows:
            if ring == PERIOD and name in by_name:
                by_name[name].saved[begin] = (good, total)


class _Open:
    def __init__(self, name: str, calendar: Calendar) -> None:
        self.name = name
        self.begin: float | None = None
        self.next: float | None = None
        self.start = (0, 0)
        self.saved: dict[int, tuple[int, int]] = {}
        self._calendar = calendar

    def enter(self, now: float, counts: tuple[int, int]) -> None:
        self.begin = self._calendar.begin(now)
        self.next = self._calendar.end(now)
        self.start = self.saved.pop(int(self.begin), counts)

    def row(self) -> Row:
        return (self.name, PERIOD, int(self.begin or 0), *self.start)
