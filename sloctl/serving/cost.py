"""How long a batch will take: measured at warm-up, corrected by what is seen. Pure."""

from bisect import bisect_left
from collections.abc import Mapping

_SMOOTHING = 0.05
_LEAST, _MOST = 0.1, 50.0  # of seen over predicted, so that one stall does not make a prediction absurd
_FORGETTING = 0.02  # of the correction, at each look without a batch


class Cost:
    """Seconds of a batch by rows: linear between measured sizes, times a moving correction.

    The correction is an exponential mean of seen over measured, so it follows load from others and throttling
    without forgetting the curve. Without batches it fades: a prediction that is too high to let any request in
    would otherwise never be found wrong.
    """

    __slots__ = ("_best", "_seen", "_table", "capacity", "correction", "full", "one", "seconds_per_row", "sizes")

    def __init__(self, measured: Mapping[int, float]) -> None:
        """`measured` holds the seconds of at least one batch size."""
        self.sizes = tuple(sorted(measured))
        self._table = _by_rows(self.sizes, [measured[size] for size in self.sizes])
        self._best = max(self.sizes, key=lambda size: size / max(measured[size], 1e-9))
        self._seen = False
        # Rows a second at the best measured batch size.
        self.capacity = self._best / max(measured[self._best], 1e-9)
        self._correct(1.0)

    def _correct(self, correction: float) -> None:
        self.correction = correction
        # What is asked for with every request is ready beforehand: seconds that a row in the queue costs those
        # behind it, seconds of the best batch, and of the smallest.
        self.seconds_per_row = correction / self.capacity
        self.full = self._best * self.seconds_per_row
        self.one = self._table[1] * correction

    def measured_for(self, rows: int) -> float:
        """Seconds of a batch of `rows` as it was measured."""
        table = self._table
        return table[rows] if rows < len(table) else table[-1] * rows / (len(table) - 1)

    def predict(self, rows: int) -> float:
        """Seconds that a batch of `rows` should take."""
        return self.measured_for(rows) * self.correction

    def observe(self, rows: int, seconds: float) -> None:
        """Learns from a batch that ran."""
        self._seen = True
        ratio = seconds / max(self.measured_for(rows), 1e-9)
        bounded = min(max(ratio, _LEAST * self.correction), _MOST * self.correction)
        self._correct(self.correction + _SMOOTHING * (bounded - self.correction))

    def rest(self) -> None:
        """A tenth of a second has gone by: without a batch in it, what was seen begins to be forgotten."""
        if not self._seen and self.correction != 1.0:
            self._correct(self.correction + _FORGETTING * (1.0 - self.correction))
        self._seen = False


def _by_rows(sizes: tuple[int, ...], seconds: list[float]) -> list[float]:
    """Seconds by rows from 0 to the largest size; below the smallest size they are those of the smallest."""
    table = [seconds[0]] * (sizes[-1] + 1)
    for rows in range(sizes[0] + 1, sizes[-1] + 1):
        at = bisect_left(sizes, rows)
        share = (rows - sizes[at - 1]) / (sizes[at] - sizes[at - 1])
        table[rows] = seconds[at - 1] + share * (seconds[at] - seconds[at - 1])
    return table
