"""From the board to good and total: what each SLO counts, resolved once, read every tick."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sloctl.board import Snapshot, Topology
from sloctl.board.layout import bounds_of, labelsets
from sloctl.slo.objective import COUNT_PARTS, SHARE_PARTS, Objective, Ratio, Raw, Selector, Threshold
from sloctl.telemetry.catalogue import Kind, Metric, Plane, find

Count = Callable[[Snapshot], tuple[int, int]]
"""Reads (good, total), cumulative since the board began."""

Values = Mapping[tuple[str, tuple[str, ...]], float]
"""Values of the control plane's own gauges by metric name and labels."""

Gauges = Callable[[], Values]


class Indicators:
    """Counts all objectives. A gauge is sampled once a second and each sample is an event."""

    def __init__(self, objectives: tuple[Objective, ...], topology: Topology, gauges: Gauges) -> None:
        self.objectives = objectives
        self._topology = topology
        self._gauges = gauges
        self._counts = [self._compile(objective) for objective in objectives]
        self._samplers = [s for s in self._counts if isinstance(s, _Sampler)]
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
            return self._sampled_ratio(indicator) if indicator.sampled else self._ratio(indicator)
        if isinstance(indicator, Raw):
            return _Sampler(_share(indicator, self._readings(indicator.selector)))
        if not isinstance(indicator, Threshold):
            return lambda _: (0, 0)  # a Prometheus tells of its events (see `sources`)
        metric = _metric(indicator.selector)
        if metric.kind is Kind.HISTOGRAM:
            return self._threshold(indicator, metric)
        return _Sampler(_kept(indicator, self._readings(indicator.selector)))

    def _sampled_ratio(self, ratio: Ratio) -> "_Sampler":
        total, part = self._readings(ratio.total), self._readings(ratio.good or ratio.bad or ratio.total)

        def sample(snapshot: Snapshot, gauges: Values) -> tuple[int, int]:
            valid, some = (round(sum(read(snapshot, gauges)) * COUNT_PARTS) for read in (total, part))
            return (some if ratio.good is not None else valid - some), valid

        return _Sampler(sample)

    def _readings(self, selector: Selector) -> "_Read":
        """Reads the values of a gauge's selected series; NaN is none."""
        metric = _metric(selector)
        series = self._series(selector, metric)

        def read(snapshot: Snapshot, gauges: Values) -> list[float]:
            if metric.plane is Plane.DATA:
                found = [snapshot.scalar(metric, *labels) for labels in series]
            else:
                found = [
                    value
                    for (name, labels), value in gauges.items()
                    if name == metric.name and _selects(selector, metric, labels)
                ]
            return [value for value in found if value == value]

        return read

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


_Read = Callable[[Snapshot, Values], list[float]]
_Sample = Callable[[Snapshot, Values], tuple[int, int]]


class _Sampler:
    """Adds up samples of gauges: the good and the total that each is worth."""

    def __init__(self, worth: _Sample) -> None:
        self._worth = worth
        self._good = self._total = 0

    def __call__(self, _: Snapshot) -> tuple[int, int]:
        return self._good, self._total

    def sample(self, snapshot: Snapshot, gauges: Values) -> None:
        """Takes one sample."""
        good, total = self._worth(snapshot, gauges)
        self._good += good
        self._total += total


def _kept(indicator: Threshold, read: _Read) -> _Sample:
    """An event a sample, good while every selected series keeps the threshold; no value, no event."""

    def sample(snapshot: Snapshot, gauges: Values) -> tuple[int, int]:
        values = read(snapshot, gauges)
        return int(bool(values) and all(_holds(indicator.op, v, indicator.value) for v in values)), int(bool(values))

    return sample


def _share(indicator: Raw, read: _Read) -> _Sample:
    """An event a sample, good by the mean of the selected series."""

    def sample(snapshot: Snapshot, gauges: Values) -> tuple[int, int]:
        values = read(snapshot, gauges)
        if not values:
            return 0, 0
        part = round(min(max(sum(values) / len(values), 0.0), 1.0) * SHARE_PARTS)
        return (SHARE_PARTS - part if indicator.failure else part), SHARE_PARTS

    return sample


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
