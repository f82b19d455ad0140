"""A copy of the board at one moment, for the tick and the exporters."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sloctl.board.health import LevelState
from sloctl.board.layers import LayerReading, readings, summed
from sloctl.board.layout import Layout, bounds_of, is_float
from sloctl.telemetry.catalogue import DATA_METRICS, HEALTH_LEVEL, LAYER_DURATION, Kind, Metric
from sloctl.telemetry.families import Family, HistogramValue, SummaryValue, Value

_HEALTH_VALUE = {LevelState.PASSING: 1.0, LevelState.MISSED: 0.5, LevelState.DEGRADED: 0.5}


class Snapshot:
    """Reads of one copy of the board; labels are given in the order of the metric's declaration."""

    def __init__(self, layout: Layout, data: bytes, layers_of: Sequence[bytes] = ()) -> None:
        """`layers_of` are the boards whose layer tables are summed, by default this one alone."""
        self._layout = layout
        self._layers_of = layers_of or (data,)
        self._ints = np.frombuffer(data, np.int64)
        self._floats = np.frombuffer(data, np.float64)

    def scalar(self, metric: Metric, *labels: str) -> float:
        """A counter's or gauge's value."""
        cell = self._layout.cells[metric.name, labels]
        return float(self._floats[cell]) if is_float(metric) else int(self._ints[cell])

    def counts(self, metric: Metric, *labels: str) -> NDArray[np.int64]:
        """A histogram's counts, one a bound and one for what lies above (not cumulative)."""
        cell = self._layout.cells[metric.name, labels]
        return self._ints[cell : cell + len(bounds_of(metric, self._layout.topology)) + 1]

    def total(self, metric: Metric, *labels: str) -> float:
        """A histogram's sum of observations."""
        cell = self._layout.cells[metric.name, labels]
        return float(self._floats[cell + len(bounds_of(metric, self._layout.topology)) + 1])

    def layers(self, model: str, variant: str) -> list[LayerReading]:
        """A variant's layers in execution order, and what the others come to."""
        place = self._layout.layers[model, variant]
        return summed([readings(data, place) for data in self._layers_of])

    def families(self, metrics: Sequence[Metric] = DATA_METRICS) -> list[Family]:
        """Every data-plane metric (or those named) with all its series."""
        found = {metric.name: Family(metric) for metric in metrics}
        for (name, labels), cell in self._layout.cells.items():
            if (family := found.get(name)) is None:
                continue
            family.samples.append((labels, self._value(family.metric, labels, cell)))
        for model, variant in self._layout.layers if LAYER_DURATION.name in found else ():
            samples = found[LAYER_DURATION.name].samples
            for layer in self.layers(model, variant):
                value = SummaryValue(layer.count, layer.total)
                samples.append(((model, variant, layer.name, layer.kind), value))
        return list(found.values())

    def _value(self, metric: Metric, labels: tuple[str, ...], cell: int) -> Value:
        if metric is HEALTH_LEVEL:
            model, variant, level = labels
            state = LevelState(int(self._ints[self._layout.health[model, variant, level].start + 1]))
            return _HEALTH_VALUE.get(state, 0.0)
        if metric.kind is Kind.HISTOGRAM:
            return self._histogram(metric, labels)
        return float(self._floats[cell]) if is_float(metric) else int(self._ints[cell])

    def _histogram(self, metric: Metric, labels: tuple[str, ...]) -> HistogramValue:
        topology = self._layout.topology
        bounds = bounds_of(metric, topology)
        shown = topology.exported if bounds is topology.bounds else bounds
        running = np.cumsum(self.counts(metric, *labels))
        picked = np.searchsorted(bounds, shown)
        cumulative = (*running[picked].tolist(), int(running[-1]))
        return HistogramValue(shown, cumulative, self.total(metric, *labels))
