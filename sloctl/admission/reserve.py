"""Shares of the batches that a class is sure of while higher ones wait. Pure.

Classes go highest first, so under a lasting overload by a higher class a lower one would never run. With a share s
reserved, a class that waits behind a higher one collects s of a turn with every batch; a whole one lets it lead that
batch, the other classes after it. So while it waits it leads the share s of the batches, evenly. More than two turns
are not saved up.
"""

import math
from collections.abc import Sequence

_SLACK = 1e-9  # ten times 0.1 shall make a whole
_MOST = 2.0  # turns


class Reserve:
    """The turns of one model's classes. Not thread-safe."""

    __slots__ = ("_turn", "shares")

    def __init__(self, shares: Sequence[float]) -> None:
        """`shares` by class, each in 0..1; ValueError if they leave nothing for the order of the classes."""
        if any(not 0 <= share < 1 for share in shares) or sum(shares) >= 1:
            raise ValueError(f"reserved shares {list(shares)}; expected shares whose sum is less than 1")
        self.shares = tuple(shares)
        self._turn = [0.0] * len(self.shares)

    def leads(self, waiting: Sequence[int]) -> int:
        """Index of the class that leads the next batch, given how many wait in each; -1 if none waits."""
        first = next((index for index, count in enumerate(waiting) if count), -1)
        lead = first
        for index in range(first + 1, len(waiting)):
            share = self.shares[index]
            if waiting[index] and share:
                turn = self._turn[index] + share
                if turn >= 1 - _SLACK and lead == first:
                    lead, turn = index, turn - 1
                self._turn[index] = min(turn, _MOST)
        return lead

    def batches_before(self, index: int) -> float:
        """Batches before one that a class leads, if only the highest waits besides; infinite without a share."""
        share = self.shares[index]
        return max(math.ceil((1 - self._turn[index] - _SLACK) / share) - 1, 0) if share else math.inf
