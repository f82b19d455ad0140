"""Exact history of cumulative event counts for all SLOs at once, in constant memory.

A window is one subtraction: the counts now less those at the ring's slot at or before the window's start. It
is therefore exact where its start falls on the ring's resolution, and otherwise longer by less than one slot.
Rings get coarser with age, as far as the longest window needs; the finest that reaches back far enough
answers.

Space: about 4,400 slots of 16 bytes an SLO for 30 days (70 kB). Time: O(SLOs) a window and an advance.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from sloctl.slo.rings import Counts, Ring, rings_for

Row = tuple[str, int, int, int, int]
"""A slot to keep: SLO, resolution of its ring in seconds, slot number, good, total. Ring 0 is the counts now."""

_NOW = 0


class History:
    """Good and total counts of the SLOs in `names`, for windows up to `longest` seconds.

    `now` is in seconds on one axis that never starts anew: where the history is kept across a reboot, the
    caller adds the offset. A step back of `now` is taken as standing still. Events count at the time of the
    `advance` that brings them; while nobody advances, nothing happens.
    """

    def __init__(self, names: Sequence[str], longest: float) -> None:
        self.names = tuple(names)
        self.longest = longest
        self.now = -math.inf  # of the last advance
        self.counts: Counts = np.zeros((2, len(self.names)), np.int64)  # good and total, never falling
        self.offset = np.zeros_like(self.counts)  # counts less what the caller gave
        self.columns = {name: index for index, name in enumerate(self.names)}
        self.rings = rings_for(longest, len(self.names))
        self._known = np.zeros(len(self.names), bool)  # has counts from before this history began
        self._until: dict[int, float] = {}  # by column, up to when events are known, where not up to now
        self._late: dict[int, float] = {}  # by column, the first moment whose kept slots have changed since

    def advance(self, now: float, good: Counts, total: Counts) -> None:
        """Takes the cumulative counts `[SLOs]` at `now`.

        The first counts of an SLO are its zero. Counts that fall, or more new good events than events, mean
        that the source began anew or counts otherwise: they become the new base, and nothing is counted.
        """
        raw = np.array((good, total), dtype=np.int64)
        if self.now == -math.inf:
            self._begin(now, raw)
        now = max(now, self.now)
        for ring in self.rings:
            ring.close(ring.last_before(now), self.counts)
        self.now = now
        step = raw + self.offset - self.counts
        anew = (step < 0).any(axis=0) | (step[0] > step[1])
        if anew.any():
            self.offset[:, anew] -= step[:, anew]
        self.counts = raw + self.offset

    def _begin(self, now: float, raw: Counts) -> None:
        unknown = ~self._known
        self.counts[:, unknown] = raw[:, unknown]
        for ring in self.rings:
            ring.data[:, :, unknown] = raw[:, unknown]
            start = ring.last_before(now)  # the base is kept, too: a restart has to know it
            ring.first = start if ring.newest is None else min(start, ring.newest + 1)

    def insert(self, name: str, times: Sequence[float], good: Sequence[int], total: Sequence[int]) -> None:
        """Adds events of an SLO that happened at these times, ascending, before the last advance or at it.

        Their counts are not in those of `advance`, which go on as if nothing had been added. What lies further back
        than a ring reaches is part of its oldest slot. O(slots + events).
        """
        if not times:
            return
        column, added = self.columns[name], np.cumsum(np.array((good, total), np.int64), axis=1)
        for ring in self.rings:
            if ring.newest is None:
                continue
            slots = ring.slots()
            before = np.searchsorted(times, slots * float(ring.resolution), side="right")
            known = before > 0
            ring.data[slots[known] % ring.size, :, column] += added[:, before[known] - 1].T
        self.counts[:, column] += added[:, -1]
        self.offset[:, column] += added[:, -1]
        self._late[column] = min(times[0], self._late.get(column, math.inf))

    def known(self, name: str, until: float) -> None:
        """Events of an SLO are known up to a moment only: its windows end there, and not in the silence after it."""
        self._until[self.columns[name]] = until

    def window(self, seconds: float) -> tuple[Counts, Counts]:
        """Good and total events `[SLOs]` of the last `seconds` before the last advance.

        Raises ValueError for a window of no length or beyond `longest`.
        """
        if not 0 < seconds <= self.longest:
            raise ValueError(f"a window of {seconds:g} s: the history reaches {self.longest:g} s back")
        if self.now == -math.inf:
            return np.zeros_like(self.counts[0]), np.zeros_like(self.counts[1])
        begin = self._at(self.now - seconds)
        if self._until:
            begin = begin.copy()
            for column, until in self._until.items():
                begin[:, column] = self._at(min(until, self.now) - seconds)[:, column]
        good, total = self.counts - begin
        return good, total

    def _at(self, moment: float) -> Counts:
        """The counts at a moment, by the finest ring that reaches back so far."""
        ring = next((ring for ring in self.rings if self.now - moment <= ring.reach), self.rings[-1])
        return ring.at(ring.at_or_before(moment))

    def unsaved(self) -> list[Row]:
        """Slots closed since the last call, and the counts now; in a store the key is SLO, ring and slot.

        Should a caller fail to keep them, windows that begin in the hole come out longer, never wrong else.
        """
        current = self.counts.T.tolist()
        rows: list[Row] = [(name, _NOW, 0, *pair) for name, pair in zip(self.names, current, strict=True)]
        for ring in self.rings:
            if ring.newest is None:
                continue
            for slot in range(max(ring.first, ring.oldest()), ring.newest + 1):
                pairs = ring.at(slot).T.tolist()
                rows += [(n, ring.resolution, slot, *p) for n, p in zip(self.names, pairs, strict=True)]
            rows += self._changed(ring)
            ring.first = ring.newest + 1
        self._late.clear()
        return rows

    def _changed(self, ring: Ring) -> list[Row]:
        """Slots that were kept already, and have changed since."""
        rows: list[Row] = []
        for column, since in self._late.items():
            first = max(math.ceil(since / ring.resolution), ring.oldest())
            for slot in range(first, min(ring.first, (ring.newest or 0) + 1)):
                good, total = ring.at(slot)[:, column].tolist()
                rows.append((self.names[column], ring.resolution, slot, good, total))
        return rows

    def oldest(self) -> dict[int, int]:
        """For each ring's resolution the first slot still needed; a store may drop older ones."""
        return {ring.resolution: ring.oldest() for ring in self.rings if ring.newest is not None}

    def restore(self, rows: Iterable[Row], now: float = math.inf) -> None:
        """Takes over what `unsaved` gave before a restart, before the first `advance`.

        SLOs are matched by name; rows of others, of rings not in use and from after `now` are left out. A
        missing slot has the counts of the one before it: no events in the gap.
        """
        found: dict[str, dict[int, list[tuple[int, int, int]]]] = {}
        for name, resolution, slot, good, total in rows:
            if name in self.columns and resolution * slot <= now:
                found.setdefault(name, {}).setdefault(resolution, []).append((slot, good, total))
        series = {name: {r: np.array(sorted(s)) for r, s in rings.items()} for name, rings in found.items()}
        for ring in self.rings:
            newest = [int(s[ring.resolution][-1, 0]) for s in series.values() if ring.resolution in s]
            ring.newest = max(newest, default=None)
        for name, known in series.items():
            self._restore_one(self.columns[name], known)

    def _restore_one(self, column: int, known: dict[int, Counts]) -> None:
        values = np.concatenate(list(known.values()))[:, 1:]
        self._known[column] = True
        self.counts[:, column] = known[_NOW][0, 1:] if _NOW in known else values.max(axis=0)
        for ring in self.rings:
            rows = known.get(ring.resolution)
            if rows is None:  # the earliest counts that anything knows of
                ring.data[:, :, column] = values.min(axis=0)
            else:
                ring.load(column, rows[:, 0], rows[:, 1:])
