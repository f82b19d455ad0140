"""Which batch sizes are worth taking, by a variant's latency table. Pure.

Two questions are answered beforehand for every number of rows, since they come up with every batch.

- `padded`: how many rows the engine is given. More than there are where only some sizes are allowed, or where a
  larger batch is measured to be faster.
- `first_of`: how many of the rows that wait go into the next batch. All, unless the table says that in two batches
  (or more) they are done sooner; then the part with the fewest seconds a row goes first (Smith's rule, which makes the
  mean wait smallest).
"""

from bisect import bisect_left
from collections.abc import Sequence

from sloctl.serving.cost import Cost

_WORTH = 0.05  # a gain below this share of the time is within what two measurements of one size differ by
_TURN = 1e-4  # seconds that a batch costs the event loop besides


class Sizes:
    """The batch sizes of one variant up to `most` rows; what is beyond runs as it is."""

    __slots__ = ("_first", "_measured", "_padded", "candidates", "cost", "most")

    def __init__(self, cost: Cost, most: int, preferred: Sequence[int] = (), allowed: Sequence[int] = ()) -> None:
        """`preferred` are the sizes that a batch may be cut to, by default those of the table.

        With `allowed`, batches are padded to the next of these; larger ones than all of them run as they are.
        """
        self.cost = cost
        self.most = most
        fitting = sorted(size for size in allowed if size <= most)
        # Those to choose from for a batch that cannot have all.
        self.candidates = tuple(sorted({size for size in (*cost.sizes, *fitting) if size < most} | {most}))
        self._padded = tuple(_padded(cost, rows, self.candidates, fitting) for rows in range(most + 1))
        self._measured = tuple(map(cost.measured_for, self._padded))
        self._first = self._partition([size for size in sorted(preferred) or self.candidates if size <= most])

    def padded(self, rows: int) -> int:
        """The rows that the engine is given for a batch of `rows`."""
        return self._padded[rows] if rows <= self.most else rows

    def first_of(self, rows: int) -> int:
        """How many of so many waiting rows are best in the next batch."""
        return self._first[rows] if rows <= self.most else rows

    def predict(self, rows: int) -> float:
        """Seconds that a batch of so many rows should take, padded as it will be."""
        cost = self.cost
        return (self._measured[rows] if rows <= self.most else cost.measured_for(rows)) * cost.correction

    def _partition(self, parts: Sequence[int]) -> tuple[int, ...]:
        """The first part of the partition of 0, 1, 2, … rows that takes the least time in all."""
        alone = [self.predict(rows) for rows in range(self.most + 1)]
        total, first = [0.0], [0]
        for rows in range(1, self.most + 1):
            total.append(alone[rows])
            first.append(rows)
            for part in parts[: bisect_left(parts, rows)]:
                rest = rows - part
                seconds = alone[part] + total[rest]
                if seconds < total[rows] and _sooner(seconds, alone[rows]):
                    total[rows] = seconds
                    first[rows] = min(part, first[rest], key=lambda size: alone[size] / size)
        return tuple(first)


def _padded(cost: Cost, rows: int, known: Sequence[int], allowed: Sequence[int]) -> int:
    if allowed:
        at = bisect_left(allowed, rows)
        return allowed[at] if rows > 0 and at < len(allowed) else rows
    best = min(known[bisect_left(known, rows) :], key=cost.predict, default=rows)
    return best if rows and _sooner(cost.predict(best), cost.predict(rows)) else rows


def _sooner(seconds: float, than: float) -> bool:
    """Whether the first is less by more than chance and effort."""
    return seconds + _TURN < (1 - _WORTH) * than
