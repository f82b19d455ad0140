"""A ring of cumulative counts at the multiples of one resolution."""

import math

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# (resolution, reach) in seconds: windows up to `reach` are answered within a slot of `resolution`.
_LEVELS = ((1, 600.0), (10, 7200.0), (60, 86400.0), (300, 3 * 86400.0), (3600, math.inf))


class Ring:
    """Slot n holds the counts at n × `resolution` seconds, in `data[n % size]`, of shape `[2, SLOs]`.

    `newest` is the last slot that is closed, None before the first; `first` the oldest that was never saved.
    """

    def __init__(self, resolution: int, reach: float, slos: int) -> None:
        self.resolution = resolution
        self.reach = reach
        self.size = math.ceil(reach / resolution) + 1
        self.data: Counts = np.zeros((self.size, 2, slos), np.int64)
        self.newest: int | None = None
        self.first = 0

    def last_before(self, now: float) -> int:
        """The last slot whose time is before `now`: what happens at that very moment still belongs to it."""
        return math.ceil(now / self.resolution) - 1

    def at_or_before(self, moment: float) -> int:
        """The last slot whose time is not after `moment`."""
        return math.floor(moment / self.resolution)

    def oldest(self) -> int:
        """The oldest slot that the ring holds."""
        return (self.newest or 0) - self.size + 1

    def slots(self) -> NDArray[np.int64]:
        """Numbers of all slots that the ring holds, ascending."""
        return np.arange(self.oldest(), self.oldest() + self.size)

    def close(self, upto: int, counts: Counts) -> None:
        """Gives all slots after the newest one, up to `upto`, these counts. O(1) a slot, at most all of them."""
        newest = upto - self.size if self.newest is None else self.newest
        if upto > newest:
            slots = np.arange(max(newest + 1, upto - self.size + 1), upto + 1)
            self.data[slots % self.size] = counts
            self.newest = upto

    def at(self, slot: int) -> Counts:
        """Counts `[2, SLOs]` at a slot; for one that is not held, those of the nearest that is."""
        counts: Counts = self.data[max(min(slot, self.newest or 0), self.oldest()) % self.size]
        return counts

    def load(self, column: int, slots: Counts, pairs: Counts) -> None:
        """Sets one SLO from ascending slot numbers `[k]` and counts `[k, 2]`; holes repeat the slot before."""
        held = self.slots()
        before = np.searchsorted(slots, held, side="right") - 1
        self.data[held % self.size, :, column] = pairs[np.maximum(before, 0)]


def rings_for(longest: float, slos: int) -> list[Ring]:
    """Rings, finest first, that answer windows up to `longest` seconds."""
    rings = []
    for resolution, reach in _LEVELS:
        rings.append(Ring(resolution, min(reach, longest), slos))
        if longest <= reach:
            break
    return rings
