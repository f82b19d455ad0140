"""Shares of the device that a class is sure of while higher ones wait, in rows. Pure.

Classes go highest first, so under a lasting overload by a higher class a lower one would never run. With a share s
reserved, a class that waits has s of every batch put to its credit, and what it runs taken from it; with a credit it
leads the next batch, the other classes after it. So while it waits it has the share s of all rows, give or take a
batch. A credit of more than a full batch is not saved up, nor is there any while nothing of the class waits; nor does
it owe more than a full batch for what it ran while the others left the device to it.
"""

import math
from collections.abc import Sequence


class Reserve:
    """The credits of one model's classes. Not thread-safe."""

    __slots__ = ("_credit", "shares")

    def __init__(self, shares: Sequence[float]) -> None:
        """`shares` by class, each in 0..1; ValueError if they leave nothing for the order of the classes."""
        if any(not 0 <= share < 1 for share in shares) or sum(shares) >= 1:
            raise ValueError(f"reserved shares {list(shares)}; expected shares whose sum is less than 1")
        self.shares = tuple(shares)
        self._credit = [0.0] * len(self.shares)  # rows

    def leads(self, waiting: Sequence[int]) -> int:
        """Index of the class that leads the next batch, given how many wait in each; -1 if none waits.

        Of several with a credit it is the one with the largest.
        """
        able = [
            index for index, share in enumerate(self.shares) if share and waiting[index] and self._credit[index] > 0
        ]
        if able:
            return max(able, key=self._credit.__getitem__)
        return next((index for index, count in enumerate(waiting) if count), -1)

    def ran(self, waited: Sequence[int], rows: Sequence[int], most: int) -> None:
        """A batch was formed: `rows` by class; `waited` is what waited in each before, `most` rows are a full batch."""
        total = sum(rows)
        for index, share in enumerate(self.shares):
            if share:
                credit = self._credit[index] + share * total - rows[index] if waited[index] else 0.0
                self._credit[index] = max(min(credit, float(most)), -float(most))

    def rows_before(self, index: int, own: float) -> float:
        """Rows of others that may run before `own` rows of a class that wait have run; infinite without a share."""
        share = self.shares[index]
        return max(own - self._credit[index], 0.0) / share if share else math.inf
