"""Several boards of one layout as one: how each word of theirs becomes one word.

Counts are kept by a device that is down and go on when it is back, so all boards are summed. Gauges say what is
now, so only the boards that `live` names take part.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sloctl.board.health import LevelState, worst
from sloctl.board.layout import Layout, bounds_of, is_float
from sloctl.board.snapshot import Snapshot
from sloctl.telemetry.catalogue import BREAKER_STATE, BREAKER_WORST, VARIANT_BREAKER, Kind, Merge, Metric, find

Cells = NDArray[np.int64]


class Merger:
    """Sorts the words of a layout by their rule, once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        found: dict[str, list[int]] = {"counts": [], "sums": [], **{rule: [] for rule in Merge}}
        for (name, _), cell in layout.cells.items():
            metric = find(name)
            assert metric is not None  # noqa: S101  the layout was made from the catalogue
            if metric.kind is Kind.HISTOGRAM:
                end = cell + len(bounds_of(metric, layout.topology)) + 1
                found["counts"] += range(cell, end)
                found["sums"].append(end)
            elif metric.kind is Kind.GAUGE:
                found[metric.merge].append(cell)
            else:
                found["sums" if is_float(metric) else "counts"].append(cell)
        self._cells: dict[str, Cells] = {rule: np.array(cells, np.int64) for rule, cells in found.items()}
        models = layout.topology.models
        breakers: list[tuple[Metric, tuple[str, ...]]] = [(BREAKER_STATE, (model.name,)) for model in models]
        breakers += [(VARIANT_BREAKER.state, (model.name, variant)) for model in models for variant in model.variants]
        self._breakers = [
            [layout.cells[metric.name, (*labels, state)] for state in BREAKER_WORST] for metric, labels in breakers
        ]

    def snapshot(self, copies: Sequence[bytes], live: Sequence[bytes]) -> Snapshot:
        """One snapshot of copies of all boards; gauges from those that are `live`, which are some or all of them."""
        if len(copies) == 1:
            return Snapshot(self._layout, copies[0])
        merged = bytearray(live[0])
        ints, floats = np.frombuffer(merged, np.int64), np.frombuffer(merged, np.float64)
        whole = [np.frombuffer(copy, np.int64) for copy in copies]
        ints[self._cells["counts"]] = sum(copy[self._cells["counts"]] for copy in whole)
        floats[self._cells["sums"]] = sum(copy.view(np.float64)[self._cells["sums"]] for copy in whole)
        values = np.stack([np.frombuffer(copy, np.float64) for copy in live])
        for rule, merge in ((Merge.SUM, np.add), (Merge.MAX, np.fmax), (Merge.MIN, np.fmin), (Merge.WORST, np.fmax)):
            cells = self._cells[rule]
            floats[cells] = merge.reduce(values[:, cells], axis=0)
        for states in self._breakers:
            self._keep_worst(floats, states)
        for place in self._layout.health.values():
            at = place.start + 1
            ints[at] = worst(LevelState(int(copy.view(np.int64)[at])) for copy in values)
        return Snapshot(self._layout, bytes(merged), copies)

    @staticmethod
    def _keep_worst(floats: NDArray[np.float64], states: list[int]) -> None:
        """Of the states that any breaker is in, the worst alone."""
        entered = [cell for cell in states if floats[cell] == 1.0]
        for cell in entered[:-1]:
            floats[cell] = 0.0
