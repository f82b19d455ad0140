"""Burn rates, budgets and burn-rate alerts of all SLOs, computed once a tick for all of them together.

    error ratio = bad / total events of a window (0 without events)
    burn rate   = error ratio / (1 − target)
    budget left = 1 − burn rate over the period

An alert fires while the burn rates over its long and its short window are both above its factor
(SRE workbook, chapter 5, 'Alerting on SLOs').
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sloctl.slo.alarms import alarms_of, grouped, lengths_of
from sloctl.slo.history import History, Row
from sloctl.slo.objective import Objective
from sloctl.slo.periods import PERIOD, Periods
from sloctl.slo.rings import Counts
from sloctl.slo.slices import SLICE, Slicer
from sloctl.slo.windows import Alarm, AlertWindow

Ratios = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Alert(NamedTuple):
    """State of one alert of one SLO; `factor` is what both burn rates must exceed, `window` the alert's name."""

    slo: str
    severity: str
    window: str
    burn_long: float
    burn_short: float
    firing: bool
    factor: float


class Exceeded(NamedTuple):
    """What is one alert together (see `grouped`) of one SLO, by its column, and the burn rate that is too high.

    That is the one over the long window of the first of its `alarms` that is exceeded.
    """

    column: int
    alarms: tuple[Alarm, ...]
    burn: float


@dataclass(frozen=True, slots=True)
class _View:
    """One window of all SLOs, each array `[SLOs]`."""

    good: Counts
    total: Counts
    ratio: Ratios
    burn: Ratios


@dataclass(frozen=True, slots=True)
class _Group:
    """SLOs with the same alerts, by column; `alerts` are the alarms that are one alert together."""

    columns: NDArray[np.intp]
    alerts: tuple[tuple[Alarm, ...], ...]
    units: Counts

    @property
    def alarms(self) -> Iterator[Alarm]:
        """All of them."""
        return chain.from_iterable(self.alerts)


def longest_window(objectives: Iterable[Objective], windows: Sequence[AlertWindow]) -> float:
    """Seconds of the longest window that these SLOs keep: a period, or an alerting window fitted to one."""
    lengths = [window for o in objectives for window in lengths_of(o, alarms_of(o, windows))]
    return max([1.0, *lengths])


class Evaluator:
    """Holds objectives against their history. Not thread-safe; one tick advances it, then anybody reads.

    Reads raise KeyError for an SLO that is not there, ValueError for a window beyond `longest` seconds.
    """

    def __init__(self, objectives: Sequence[Objective], windows: Sequence[AlertWindow]) -> None:
        self.objectives = tuple(objectives)
        names = [objective.name for objective in objectives]
        if len(set(names)) != len(names):
            raise ValueError("two SLOs have the same name")
        self._alarms = [alarms_of(objective, windows) for objective in objectives]
        columns: dict[tuple[tuple[Alarm, ...], ...], list[int]] = {}
        for column, alarms in enumerate(self._alarms):
            columns.setdefault(tuple(grouped(objectives[column], alarms)), []).append(column)
        self._groups = [
            _Group(np.array(held), alerts, np.array([objectives[i].unit for i in held]))
            for alerts, held in columns.items()
        ]
        self.longest = longest_window(objectives, windows)
        self._budgets = np.array([objective.budget for objective in objectives])
        self._history = History(names, self.longest)
        self._slicer = Slicer(objectives)
        self._periods = Periods(objectives)
        self._since: dict[tuple[int, str], float] = {}  # when an alarm that has to hold for a while began to
        self._views: dict[float, _View] = {}
        self.no_data: frozenset[str] = frozenset()  # SLOs whose events cannot be counted at present

    def advance(self, now: float, good: Counts, total: Counts) -> None:
        """Takes the cumulative counts `[SLOs]` at `now`, in the order of the objectives (see `History`)."""
        first, before = self._history.now == -math.inf, self._history.counts
        good, total = self._slicer.advance(now, good, total, before)
        self._history.advance(now, good, total)
        now = self._history.now
        self._periods.advance(now, self._history.counts if first else before)
        self._views.clear()
        self._hold(now)

    def _hold(self, now: float) -> None:
        for group in self._groups:
            for alarm in group.alarms:
                if alarm.after:
                    exceeded = self._exceeded(group, alarm)
                    for column in group.columns[~exceeded].tolist():
                        self._since.pop((column, alarm.name), None)
                    for column in group.columns[exceeded].tolist():
                        self._since.setdefault((column, alarm.name), now)

    def _exceeded(self, group: _Group, alarm: Alarm) -> Flags:
        """Whether both burn rates exceed the factor, for each SLO of a group."""
        view = self._view(alarm.long)
        long, short = view.burn[group.columns], self._view(alarm.short).burn[group.columns]
        both = (np.greater_equal if alarm.at_least else np.greater)(np.minimum(long, short), alarm.factor)
        return both & (view.total[group.columns] >= alarm.minimum * group.units) if alarm.minimum else both

    def exceeding(self) -> Iterator[Exceeded]:
        """What is exceeded at this moment, however long it must be so before it fires."""
        for group in self._groups:
            for alarms in group.alerts:
                flags = [self._exceeded(group, alarm) for alarm in alarms]
                for i in np.flatnonzero(np.logical_or.reduce(flags)).tolist():
                    alarm = next(alarm for alarm, flag in zip(alarms, flags, strict=True) if flag[i])
                    column = int(group.columns[i])
                    yield Exceeded(column, alarms, float(self._view(alarm.long).burn[column]))

    def insert(self, name: str, times: Sequence[float], good: Sequence[int], total: Sequence[int]) -> None:
        """Adds events of an SLO that a source tells of later, after the first `advance` (see `History.insert`)."""
        self._history.insert(name, times, good, total)
        self._periods.insert(self._history.columns[name], times, good, total)
        self._views.clear()

    def known(self, name: str, until: float) -> None:
        """The events of an SLO are known up to a moment only (see `History.known`)."""
        self._history.known(name, until)
        self._views.clear()

    def window_lengths(self, name: str) -> tuple[float, ...]:
        """The windows of an SLO worth showing, in seconds, ascending: those of its alerts, and its period."""
        column = self._history.columns[name]
        return lengths_of(self.objectives[column], self._alarms[column])

    def burn_rate(self, name: str, window_seconds: float) -> float:
        """How many times faster than sustainable the budget burned over a window."""
        return float(self._view(window_seconds).burn[self._history.columns[name]])

    def error_ratio(self, name: str, window_seconds: float) -> float:
        """Share of bad events in a window; 0 without events."""
        return float(self._view(window_seconds).ratio[self._history.columns[name]])

    def events(self, name: str, window_seconds: float) -> tuple[float, float]:
        """Good and total events in a window; of shares of events, such as slices by their ratio, as many."""
        view, column = self._view(window_seconds), self._history.columns[name]
        unit = self.objectives[column].unit
        return _events(int(view.good[column]), unit), _events(int(view.total[column]), unit)

    def has_data(self, name: str, window_seconds: float) -> bool:
        """Whether a window holds any event."""
        return self.events(name, window_seconds)[1] > 0

    def budget_remaining(self, name: str) -> float:
        """Share of the period's error budget that is left; negative when overspent, 1 without events.

        Of a calendar period it is that of the events so far.
        """
        column = self._history.columns[name]
        objective = self.objectives[column]
        if objective.calendar is None:
            return 1 - self.burn_rate(name, objective.period_seconds)
        if self._periods.began(column) is None:
            return 1.0
        good, total = self._periods.since(column, self._history.counts)
        return 1 - ((total - good) / total if total else 0.0) / objective.budget

    def period_events(self, name: str) -> float:
        """Events of an SLO's period; of a calendar one of those so far."""
        column = self._history.columns[name]
        objective = self.objectives[column]
        if objective.calendar is None:
            return self.events(name, objective.period_seconds)[1]
        if self._periods.began(column) is None:
            return 0.0
        return _events(self._periods.since(column, self._history.counts)[1], objective.unit)

    def period_began(self, name: str) -> float | None:
        """Unix time at which an SLO's calendar period began; None for one that rolls, or before the first tick."""
        return self._periods.began(self._history.columns[name])

    def counted(self, name: str) -> tuple[float, float]:
        """Good and total events of an SLO since its history began."""
        column = self._history.columns[name]
        unit = self.objectives[column].unit
        good, total = self._history.counts[:, column].tolist()
        return _events(good, unit), _events(total, unit)

    def time_to_exhaustion(self, name: str, window_seconds: float) -> float:
        """Seconds until the budget is gone at a window's burn rate: what is left, times the period, over the rate.

        0 where it is gone, and at most the period: an SLO that burns no faster than it may is never exhausted.
        """
        period, rate = self.objective(name).period_seconds, self.burn_rate(name, window_seconds)
        left = max(self.budget_remaining(name), 0.0) * period
        return min(left / rate, period) if rate > 0 else (period if left > 0 else 0.0)

    def alerts(self) -> list[Alert]:
        """Every alert of every SLO, firing or not."""
        found = []
        names, now = self._history.names, self._history.now
        for group in self._groups:
            for alarm in group.alarms:
                burns = (self._view(window).burn[group.columns].tolist() for window in (alarm.long, alarm.short))
                exceeded = self._exceeded(group, alarm).tolist()
                for i, long, short, flag in zip(group.columns.tolist(), *burns, exceeded, strict=True):
                    held = not alarm.after or now - self._since.get((i, alarm.name), now) >= alarm.after
                    found.append(Alert(names[i], alarm.severity, alarm.name, long, short, flag and held, alarm.factor))
        return found

    def unsaved(self) -> tuple[list[Row], dict[int, int]]:
        """What to keep for `restore` since the last call, and for each ring the oldest slot still needed."""
        slices, periods = self._slicer.unsaved(), self._periods.unsaved()
        oldest = self._history.oldest()
        for ring, rows in ((SLICE, slices), (PERIOD, periods)):
            if rows:
                oldest[ring] = min(row[2] for row in rows)
        return [*self._history.unsaved(), *slices, *periods], oldest

    def restore(self, rows: Iterable[Row], now: float = math.inf) -> None:
        """Takes over kept rows after a restart, before the first `advance` (see `History.restore`)."""
        rows = list(rows)
        self._history.restore((row for row in rows if row[1] >= 0), now)
        self._slicer.restore(rows)
        self._periods.restore(rows)

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


def _events(count: int, unit: int) -> float:
    return count if unit == 1 else count / unit
