"""Rates and quantiles of the last seconds, from snapshots of cumulative counts."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from sloctl.board import Snapshot
from sloctl.telemetry.catalogue import Metric


def quantile(bounds: tuple[float, ...], counts: NDArray[np.int64], q: float) -> float:
    """The q-quantile of a histogram, linear within its bucket; NaN without observations.

    `counts` has one entry more than `bounds`, not cumulative. What lies above the last bound counts as that
    bound, as Prometheus' histogram_quantile has it.
    """
    running = np.cumsum(counts)
    if running[-1] == 0:
        return float("nan")
    rank = q * running[-1]
    index = int(np.searchsorted(running, rank))
    if index >= len(bounds):
        return bounds[-1]
    below = running[index - 1] if index else 0
    lower = bounds[index - 1] if index else 0.0
    inside = max(int(counts[index]), 1)
    return float(lower + (bounds[index] - lower) * (rank - below) / inside)


class Recent:
    """The snapshots of the last `span` seconds; differences are taken against the oldest of them."""

    def __init__(self, span: float = 2.0) -> None:
        self._span = span
        self._kept: deque[tuple[float, Snapshot]] = deque()

    def push(self, now: float, snapshot: Snapshot) -> None:
        """Adds the newest snapshot and forgets those no longer needed to cover the span."""
        self._kept.append((now, snapshot))
        while len(self._kept) > 2 and self._kept[1][0] <= now - self._span:
            self._kept.popleft()

    @property
    def newest(self) -> Snapshot:
        """The last snapshot pushed."""
        return self._kept[-1][1]

    @property
    def seconds(self) -> float:
        """Time between the oldest and the newest snapshot."""
        return self._kept[-1][0] - self._kept[0][0]

    @property
    def spanned(self) -> bool:
        """Whether the snapshots cover half of the span at least: a rate of less time is mostly chance."""
        return self.seconds >= self._span / 2

    def increase(self, metric: Metric, *labels: str) -> float:
        """How much a counter grew."""
        return self.newest.scalar(metric, *labels) - self._kept[0][1].scalar(metric, *labels)

    def rate(self, metric: Metric, *labels: str) -> float:
        """A counter's growth a second; 0 with less than two snapshots."""
        return self.increase(metric, *labels) / self.seconds if self.seconds > 0 else 0.0

    def counts(self, metric: Metric, *labels: str) -> NDArray[np.int64]:
        """A histogram's new observations by bucket."""
        return self.newest.counts(metric, *labels) - self._kept[0][1].counts(metric, *labels)

    def total(self, metric: Metric, *labels: str) -> float:
        """Sum of a histogram's new observations."""
        return self.newest.total(metric, *labels) - self._kept[0][1].total(metric, *labels)
