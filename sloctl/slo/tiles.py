"""Events that a Prometheus counts: what to ask it for, and what its answers are as good and total events.

An SLO over queries is asked for in *tiles*: stretches of equal length that end at its multiples in Unix time and leave
nothing out between them. A tile is counted as a recording rule with that interval would count it, so the sums
of tiles are what `sloctl rules` makes of the same series (see `sloctl.slo.promql.events`).
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sloctl.slo.objective import Objective, Slices
from sloctl.slo.promql import events
from sloctl.slo.slices import judged

Points = Mapping[int, float]
"""A series: values by Unix second."""

MOST_TILES = 5000  # of one request; Prometheus gives at most 11,000


@dataclass(frozen=True, slots=True)
class Events:
    """Events by the Unix time at which they count, ascending; counts in the objective's unit."""

    times: tuple[int, ...] = ()
    good: tuple[int, ...] = ()
    total: tuple[int, ...] = ()


def expressions(objective: Objective, step: int) -> tuple[str, str]:
    """PromQL for the good and the valid events of tiles of `step` seconds."""
    return events(objective.indicator, step)


class TooManyError(ValueError):
    """More events than can be counted exactly; the message says what to do."""


def tiled(objective: Objective, good: Points, total: Points, together: int) -> Events:
    """The events of tiles by their ends. What has no number, or fewer than no events, is no tile.

    So many tiles are added up `together`. Of an objective over time slices the slices of these tiles, all of whose
    tiles must have been asked for. Raises TooManyError.
    """
    unit = 1 if objective.slices else objective.unit
    most = math.inf if objective.slices else _MOST_COUNTS / (unit * max(together, 1))
    found: list[tuple[int, int, int]] = []
    for end in sorted(total):
        valid, fine = total[end], good.get(end, math.nan)
        if valid >= 0 and not math.isnan(fine) and math.isfinite(valid):
            if valid > most:
                raise TooManyError(
                    f"{valid:.3g} events in a single interval, and no more than {most:.2g} can be counted; "
                    "expected larger units, such as both queries divided by 1e6"
                )
            fine = min(max(fine, 0.0), valid)
            found.append((end, *_parts(fine, valid, objective, unit)))
    if objective.slices is not None:
        found = _sliced(found, objective.slices)
    times, goods, totals = zip(*found, strict=True) if found else ((), (), ())
    return Events(times, goods, totals)


_MOST_COUNTS = 2**62  # of the tiles that are added up: windows are differences in 64 bits, with a sign
_FINE = 10**6  # parts of an event while slices are added up


def _parts(good: float, total: float, objective: Objective, unit: int) -> tuple[int, int]:
    scale = _FINE if objective.slices else unit
    return round(good * scale), round(total * scale)


def _sliced(tiles: list[tuple[int, int, int]], slices: Slices) -> list[tuple[int, int, int]]:
    sums: dict[int, list[int]] = {}
    for end, good, total in tiles:
        held = sums.setdefault(math.ceil(end / slices.seconds) * slices.seconds, [0, 0])
        held[0] += good
        held[1] += total
    found = ((end, *judged(good, total, slices)) for end, (good, total) in sorted(sums.items()))
    return [(end, good, total) for end, good, total in found if total]


@dataclass(slots=True)
class Coverage:
    """Which stretch of time has been asked for: tiles that end after `low`, up to `high` (None: nothing yet).

    `span` is what is asked for as a whole (a tile, or a time slice), `reach` how far back the SLO looks, `late` how
    long samples may take to come in, all in seconds.
    """

    span: int
    reach: float
    late: float
    low: int | None = None
    high: int | None = None
    waits: bool = False  # for the newest tile, which was not there when it was asked for

    def wanted(self, now: float, most: int = MOST_TILES) -> tuple[int, int] | None:
        """The stretch (after, up to) to ask for next, in whole spans: the newest first, then ever older ones."""
        newest = math.floor(now / self.span) * self.span
        oldest = newest - math.ceil(self.reach / self.span) * self.span
        room = max(most, 1) * self.span
        if self.low is None or self.high is None or self.high < oldest:
            self.low = self.high = None
            return max(newest - room, oldest), newest
        older = (max(self.low - room, oldest), self.low) if self.low > oldest else None
        if self.high < newest and not (self.waits and older):
            return self.high, min(self.high + room, newest)
        return older

    def cover(self, after: int, upto: int, newest: int | None, now: float) -> int:
        """A stretch has been answered; `newest` is the end of its last tile. Returns up to where it counts.

        What lies beyond may still come in, and will be asked for again.
        """
        if self.low is not None and upto == self.low:
            self.low, self.waits = after, False
            return upto
        known = math.floor((newest or 0) / self.span) * self.span
        settled = math.floor((now - self.late) / self.span) * self.span
        self.low = after if self.low is None else self.low
        self.high = min(max(known, settled, after), upto)
        self.waits = self.high < upto
        return self.high


def until(events: Events, end: int) -> Events:
    """The events up to a time."""
    count = bisect_right(events.times, end)
    return Events(events.times[:count], events.good[:count], events.total[:count])


def without(events: Events, leave_out: Callable[[float], bool]) -> Events:
    """The events but for those at times that are left out."""
    kept = [(at, *pair) for at, *pair in zip(events.times, events.good, events.total, strict=True) if not leave_out(at)]
    return Events(*zip(*kept, strict=True)) if kept else Events()
