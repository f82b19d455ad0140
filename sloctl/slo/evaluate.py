"""Burn rates, budgets and burn-rate alerts of all SLOs, computed once a tick for all of them together.

    error ratio = bad / total events of a window (0 without events)
    burn rate   = error ratio / (1 − target)
    budget left = 1 − burn rate over the period

An alert fires while the burn rates over its long and its short window are both above its factor
(SRE workbook, chapter 5, 'Alerting on SLOs').
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sloctl.slo.history import History, Row
from sloctl.slo.objective import Objective
from sloctl.slo.rings import Counts
from sloctl.slo.windows import AlertWindow, for_period

Ratios = NDArray[np.float64]


class Alert(NamedTuple):
    """State of one alerting window of one SLO; `factor` is what both burn rates must exceed."""

    slo: str
    severity: str
    window: str
    burn_long: float
    burn_short: float
    firing: bool
    factor: float


@dataclass(frozen=True, slots=True)
class _View:
    """One window of all SLOs, each array `[SLOs]`."""

    good: Counts
    total: Counts
    ratio: Ratios
    burn: Ratios


@dataclass(frozen=True, slots=True)
class _Group:
    """SLOs of one period, by column, with the alerting windows for it."""

    columns: tuple[int, ...]
    windows: tuple[tuple[AlertWindow, float], ...]  # with their factors


def longest_window(objectives: Iterable[Objective], windows: Sequence[AlertWindow]) -> float:
    """Seconds of the longest window that these SLOs keep: a period, or an alerting window fitted to one."""
    periods = {objective.period_seconds for objective in objectives}
    return max([1.0, *periods, *(pair.long for period in periods for pair in for_period(windows, period))])


class Evaluator:
    """Holds objectives against their history. Not thread-safe; one tick advances it, then anybody reads.

    Reads raise KeyError for an SLO that is not there, ValueError for a window beyond `longest` seconds.
    """

    def __init__(self, objectives: Sequence[Objective], windows: Sequence[AlertWindow]) -> None:
        self.objectives = tuple(objectives)
        names = [objective.name for objective in objectives]
        if len(set(names)) != len(names):
            raise ValueError("two SLOs have the same name")
        periods = dict.fromkeys(objective.period_seconds for objective in objectives)
        self._tables = {period: for_period(windows, period) for period in periods}
        self._groups = [self._group(period) for period in self._tables]
        self.longest = longest_window(objectives, windows)
        self._budgets = np.array([objective.budget for objective in objectives])
        self._history = History(names, self.longest)
        self._views: dict[float, _View] = {}

    def _group(self, period: float) -> _Group:
        columns = (i for i, o in enumerate(self.objectives) if o.period_seconds == period)
        return _Group(tuple(columns), tuple((pair, pair.factor(period)) for pair in self._tables[period]))

    def advance(self, now: float, good: Counts, total: Counts) -> None:
        """Takes the cumulative counts `[SLOs]` at `now`, in the order of the objectives (see `History`)."""
        self._history.advance(now, good, total)
        self._views.clear()

    def window_lengths(self, name: str) -> tuple[float, ...]:
        """The windows of an SLO worth showing, in seconds, ascending: those of its alerts, and its period."""
        period = self.objective(name).period_seconds
        return tuple(sorted({period, *(w for p in self._tables[period] for w in (p.long, p.short))}))

    def burn_rate(self, name: str, window_seconds: float) -> float:
        """How many times faster than sustainable the budget burned over a window."""
        return float(self._view(window_seconds).burn[self._history.columns[name]])

    def error_ratio(self, name: str, window_seconds: float) -> float:
        """Share of bad events in a window; 0 without events."""
        return float(self._view(window_seconds).ratio[self._history.columns[name]])

    def events(self, name: str, window_seconds: float) -> tuple[int, int]:
        """Good and total events in a window."""
        view, column = self._view(window_seconds), self._history.columns[name]
        return int(view.good[column]), int(view.total[column])

    def has_data(self, name: str, window_seconds: float) -> bool:
        """Whether a window holds any event."""
        return self.events(name, window_seconds)[1] > 0

    def budget_remaining(self, name: str) -> float:
        """Share of the period's error budget that is left; negative when overspent, 1 without events."""
        return 1 - self.burn_rate(name, self.objective(name).period_seconds)

    def time_to_exhaustion(self, name: str, window_seconds: float) -> float:
        """Seconds until the budget is gone at a window's burn rate: what is left, times the period, over the rate.

        0 where it is gone, and at most the period: an SLO that burns no faster than it may is never exhausted.
        """
        period, rate = self.objective(name).period_seconds, self.burn_rate(name, window_seconds)
        left = max(self.budget_remaining(name), 0.0) * period
        return min(left / rate, period) if rate > 0 else (period if left > 0 else 0.0)

    def alerts(self) -> list[Alert]:
        """Every alerting window of every SLO, firing or not."""
        found = []
        names = self._history.names
        for group in self._groups:
            for pair, factor in group.windows:
                long, short = self._view(pair.long).burn.tolist(), self._view(pair.short).burn.tolist()
                found += [
                    Alert(
                        names[i],
                        pair.severity,
                        pair.name,
                        long[i],
                        short[i],
                        long[i] > factor and short[i] > factor,
                        factor,
                    )
                    for i in group.columns
                ]
        return found

    def unsaved(self) -> tuple[list[Row], dict[int, int]]:
        """What to keep for `restore` since the last call, and for each ring the oldest slot still needed."""
        return self._history.unsaved(), self._history.oldest()

    def restore(self, rows: Iterable[Row], now: float = math.inf) -> None:
        """Takes over kept rows after a restart, before the first `advance` (see `History.restore`)."""
        self._history.restore(rows, now)

    def objective(self, name: str) -> Objective:
        """The objective of that name."""
        return self.objectives[self._history.columns[name]]

    def _view(self, seconds: float) -> _View:
        view = self._views.get(seconds)
        if view is None:
            good, total = self._history.window(seconds)
            ratio = np.divide(total - good, total, out=np.zeros(len(total)), where=total > 0)
            view = self._views[seconds] = _View(good, total, ratio, ratio / self._budgets)
        return view
