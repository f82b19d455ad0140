"""From the board to good and total: what each SLO counts, resolved once, read every tick."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sloctl.board import Snapshot, Topology
from sloctl.board.layout import bounds_of, labelsets
from sloctl.slo.objective import Objective, Ratio, Selector, Threshold
from sloctl.telemetry.catalogue import Kind, Metric, Plane, find

Count = Callable[[Snapshot], tuple[int, int]]
"""Reads (good, total), cumulative since the board began."""

Gauges = Callable[[], Mapping[tuple[str, tuple[str, ...]], float]]
"""Values of the control plane's own gauges by metric name and labels."""


class Indicators:
    """Counts all objectives. A gauge is sampled once a second and each sample is an event."""

    def __init__(self, objectives: tuple[Objective, ...], topology: Topology, gauges: Gauges) -> None:
        self.objectives = objectives
        self._topology = topology
        self._gauges = gauges
        self._counts = [self._compile(objective) for objective in objectives]
        self._samplers = [s for s in self._counts if isinstance(s, _GaugeSampler)]
        self._sampled = float("-inf")

    def read(self, snapshot: Snapshot, now: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Good and total of every objective, in their order."""
        if self._samplers and now - self._sampled >= 1.0:
            self._sampled = now
            values = self._gauges()
            for sampler in self._samplers:
                sampler.sample(snapshot, values)
        pairs = [count(snapshot) for count in self._counts]
        both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def _compile(self, objective: Objective) -> Count:
        indicator = objective.indicator
        if isinstance(indicator, Ratio):
            return self._ratio(indicator)
        metric = _metric(indicator.selector)
        if metric.kind is Kind.HISTOGRAM:
            return self._threshold(indicator, metric)
        return _GaugeSampler(indicator, metric, self._series(indicator.selector, metric))

    def _ratio(self, ratio: Ratio) -> Count:
        total = self._sum(ratio.total)
        if ratio.good is not None:
            good = self._sum(ratio.good)
            return lambda snapshot: (good(snapshot), total(snapshot))
        if ratio.bad is None:
            raise ValueError("a ratio needs good or bad")
        bad = self._sum(ratio.bad)

        def count(snapshot: Snapshot) -> tuple[int, int]:
            valid = total(snapshot)
            return valid - bad(snapshot), valid

        return count

    def _sum(self, selector: Selector) -> Callable[[Snapshot], int]:
        metric = _metric(selector)
        series = self._series(selector, metric)
        return lambda snapshot: sum(int(snapshot.scalar(metric, *labels)) for labels in series)

    def _threshold(self, indicator: Threshold, metric: Metric) -> Count:
        series = self._series(indicator.selector, metric)
        # The thresholds were made bounds of the histogram when the board was laid out.
        index = bounds_of(metric, self._topology).index(indicator.value)
        below = indicator.op in ("lte", "lt")

        def count(snapshot: Snapshot) -> tuple[int, int]:
            good = total = 0
            for labels in series:
                counts = snapshot.counts(metric, *labels)
                everything, under = int(counts.sum()), int(counts[: index + 1].sum())
                total += everything
                good += under if below else everything - under
            return good, total

        return count

    def _series(self, selector: Selector, metric: Metric) -> list[tuple[str, ...]]:
        if metric.plane is not Plane.DATA:
            return []
        return [
            labels
            for model in self._topology.models
            for labels in labelsets(metric, self._topology, model)
            if _selects(selector, metric, labels)
        ]


class _GaugeSampler:
    """Counts samples of a gauge: good while every selected series keeps the threshold."""

    def __init__(self, indicator: Threshold, metric: Metric, series: list[tuple[str, ...]]) -> None:
        self._indicator = indicator
        self._metric = metric
        self._series = series
        self._good = self._total = 0

    def __call__(self, _: Snapshot) -> tuple[int, int]:
        return self._good, self._total

    def sample(self, snapshot: Snapshot, gauges: Mapping[tuple[str, tuple[str, ...]], float]) -> None:
        """Takes one sample; no value, no event."""
        values = self._values(snapshot, gauges)
        if values:
            self._total += 1
            self._good += all(_holds(self._indicator.op, value, self._indicator.value) for value in values)

    def _values(self, snapshot: Snapshot, gauges: Mapping[tuple[str, tuple[str, ...]], float]) -> list[float]:
        if self._metric.plane is Plane.DATA:
            found = [snapshot.scalar(self._metric, *labels) for labels in self._series]
        else:
            found = [
                value
                for (name, labels), value in gauges.items()
                if name == self._metric.name and _selects(self._indicator.selector, self._metric, labels)
            ]
        return [value for value in found if value == value]  # NaN is no reading


def _selects(selector: Selector, metric: Metric, labels: tuple[str, ...]) -> bool:
    return all(v in selector.labels.get(k, (v,)) for k, v in zip(metric.labels, labels, strict=True))


def _holds(op: str, value: float, threshold: float) -> bool:
    return {
        "lte": value <= threshold,
        "lt": value < threshold,
        "gte": value >= threshold,
        "gt": value > threshold,
    }[op]


def _metric(selector: Selector) -> Metric:
    metric = find(selector.metric)
    if metric is None:
        raise KeyError(selector.metric)
    return metric
