"""Records of what SLOs counted: from the daemon's traces, or from a Prometheus."""

import csv
from collections.abc import Callable, Iterable, Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from sloctl.cases.backtest import Record
from sloctl.policy.trace import AT, TraceError, events_column, good_column
from sloctl.slo.objective import Objective
from sloctl.slo.tiles import MOST_TILES, Points, expressions, tiled

Counts = NDArray[np.float64]
_MOST_COUNTS = 2**62  # of what an evaluator takes
_LATEST = 253402300800.0  # the year 10000 in Unix seconds
_MOST_ROWS = 3_000_000  # of a trace: a month of seconds
_MOST_TILES = 1_000_000  # asked of a Prometheus: two years of minutes

Ask = Callable[[str, int, int, int], Points]
"""Values of a query from a time to another, both in Unix seconds, each so many seconds."""


def from_trace(lines: Iterable[str], objectives: Sequence[Objective]) -> Record:
    """What a trace says of those SLOs that it counts. Raises TraceError, also where it counts none of them."""
    table = csv.reader(lines)
    names = next(table, [])
    columns = {name: index for index, name in enumerate(names)}
    held = [each for each in objectives if events_column(each.name) in columns]
    if AT not in columns or not held:
        wanted = ", ".join(each.name for each in objectives)
        raise TraceError(f"the trace counts none of {wanted}; traces of daemons before version 0.1 have no counts")
    wanted_columns = [columns[c(each.name)] for c in (good_column, events_column) for each in held]
    times: list[float] = []
    rows: list[list[float]] = []
    for fields in table:
        if len(fields) != len(names) or len(rows) >= _MOST_ROWS:
            what = f"more than {_MOST_ROWS} rows" if len(rows) >= _MOST_ROWS else f"{len(fields)} fields"
            raise TraceError(f"line {table.line_num}: {what}, expected {len(names)} fields in each of fewer")
        try:
            at, *row = (float(fields[index]) for index in (columns[AT], *wanted_columns))
        except ValueError as error:
            raise TraceError(f"line {table.line_num}: {error}") from None
        if not all(map(isfinite, row)) or not 0 <= at < _LATEST or (times and at <= times[-1]):
            raise TraceError(f"line {table.line_num}: expected numbers, and times that rise, in Unix seconds")
        times.append(at)
        rows.append(row)
    return _record(held, times, np.array(rows).reshape(len(rows), 2, len(held)))


def _record(objectives: Sequence[Objective], times: Sequence[float], counts: Counts) -> Record:
    """`counts` are of events, `[times, 2, SLOs]`."""
    whole = np.round(counts * np.array([each.unit for each in objectives]))
    if np.abs(whole).max(initial=0) > _MOST_COUNTS:
        raise TraceError("the trace counts more events than 64 bits hold")
    whole = whole.astype(np.int64)
    return Record(tuple(objectives), np.array(times, float), whole[:, 0], whole[:, 1])


def from_prometheus(ask: Ask, objectives: Sequence[Objective], start: int, end: int, step: int) -> Record:
    """What a Prometheus counted in tiles of `step` seconds that end after `start` and up to `end`."""
    if (end - start) / step > _MOST_TILES:
        raise ValueError(f"more than {_MOST_TILES} intervals; expected a shorter time, or a longer --step")
    ends = list(range((start // step + 1) * step, end + 1, step))
    good, total = np.zeros((2, len(ends), len(objectives)), np.int64)
    place = {at: index for index, at in enumerate(ends)}
    for column, objective in enumerate(objectives):
        fine, valid = ({}, {}) if not ends else _asked(ask, objective, ends, step)
        events = tiled(objective, fine, valid, len(ends))
        for at, g, t in zip(events.times, events.good, events.total, strict=True):
            good[place[at], column], total[place[at], column] = g, t
    zero = np.zeros((1, len(objectives)), np.int64)
    times = np.array([ends[0] - step, *ends] if ends else [], float)
    return Record(
        tuple(objectives), times, np.vstack([zero, good.cumsum(axis=0)]), np.vstack([zero, total.cumsum(axis=0)])
    )


def _asked(ask: Ask, objective: Objective, ends: Sequence[int], step: int) -> tuple[Points, Points]:
    found: list[dict[int, float]] = []
    for query in expressions(objective, step):
        points: dict[int, float] = {}
        for begin in range(0, len(ends), MOST_TILES):
            part = ends[begin : begin + MOST_TILES]
            points |= ask(query, part[0], part[-1], step)
        found.append(points)
    return found[0], found[1]
