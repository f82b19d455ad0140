"""How long a batch will take: measured at warm-up, corrected by what is seen. Pure."""

from bisect import bisect_left
from collections.abc import Mapping

_SMOOTHING = 0.05
_LEAST, _MOST = 0.1, 50.0  # of the correction, so that one stall does not make a prediction absurd


class Cost:
    """Seconds of a batch by rows: linear between measured sizes, times a moving correction.

    The correction is an exponential mean of seen over measured, so it follows load from others and throttling
    without forgetting the curve.
    """

    __slots__ = ("_best", "_seconds", "_sizes", "capacity", "correction", "full", "one", "seconds_per_row")

    def __init__(self, measured: Mapping[int, float]) -> None:
        """`measured` holds the seconds of at least one batch size."""
        self._sizes = sorted(measured)
        self._seconds = [measured[size] for size in self._sizes]
        self._best = max(self._sizes, key=lambda size: size / max(measured[size], 1e-9))
        # Rows a second at the best measured batch size.
        self.capacity = self._best / max(measured[self._best], 1e-9)
        self._correct(1.0)

    def _correct(self, correction: float) -> None:
        self.correction = correction
        # What is asked for with every request is ready beforehand: seconds that a row in the queue costs those
        # behind it, seconds of the best batch, and of the smallest.
        self.seconds_per_row = correction / self.capacity
        self.full = self._best * self.seconds_per_row
        self.one = self._seconds[0] * correction

    def _measured(self, rows: int) -> float:
        sizes, seconds = self._sizes, self._seconds
        at = bisect_left(sizes, rows)
        if at == 0:
            return seconds[0]
        if at == len(sizes):
            return seconds[-1] * rows / sizes[-1]
        share = (rows - sizes[at - 1]) / (sizes[at] - sizes[at - 1])
        return seconds[at - 1] + share * (seconds[at] - seconds[at - 1])

    def predict(self, rows: int) -> float:
        """Seconds that a batch of `rows` should take."""
        return self._measured(rows) * self.correction

    def observe(self, rows: int, seconds: float) -> None:
        """Learns from a batch that ran."""
        ratio = min(max(seconds / max(self._measured(rows), 1e-9), _LEAST), _MOST)
        self._correct(self.correction + _SMOOTHING * (ratio - self.correction))
