"""Metric families as the OpenTelemetry SDK's data model."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sloctl import __version__
from sloctl.telemetry.catalogue import Kind
from sloctl.telemetry.families import Family, HistogramValue, SummaryValue
from sloctl_exporters.prometheus import unit_of

_CUMULATIVE = AggregationTemporality.CUMULATIVE
# UCUM. Elsewhere the unit stays empty, else collectors would append it to a name that does not end in it.
_UCUM = {"seconds": "s", "bytes": "By", "ratio": "1", "celsius": "Cel", "watts": "W", "joules": "J", "hertz": "Hz"}
# Counters lie on the board, which outlives the process that pushes; 0 says that their start is not known.
_START = 0
_ABSENT: Any = None  # what the SDK's types want and the encoder leaves out


def metrics_data(families: Sequence[Family], now: int | None = None) -> MetricsData:
    """The families as OTLP metrics at `now` (Unix nanoseconds).

    Counters become cumulative monotonic sums, gauges and info metrics gauges. A summary, for which the SDK has
    no type, becomes a histogram without buckets: count and sum under the same names once in Prometheus.
    """
    at = time.time_ns() if now is None else now
    metrics = [
        Metric(f.metric.name, f.metric.help, _UCUM.get(unit_of(f.metric), ""), _data(f, at))
        for f in families
        if f.samples
    ]
    resource = Resource.create({"service.name": "sloctl", "service.version": __version__})
    scope = ScopeMetrics(InstrumentationScope("sloctl", __version__), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _data(family: Family, at: int) -> Sum | Gauge | Histogram:
    kind = family.metric.kind
    if kind in (Kind.HISTOGRAM, Kind.SUMMARY):
        return Histogram(list(_histograms(family, at)), _CUMULATIVE)
    points = list(_numbers(family, at))
    return Sum(points, _CUMULATIVE, is_monotonic=True) if kind is Kind.COUNTER else Gauge(points)


def _numbers(family: Family, at: int) -> Iterator[NumberDataPoint]:
    for labels, value in family.samples:
        if isinstance(value, int | float):
            yield NumberDataPoint(_attributes(family, labels), _START, at, value)


def _histograms(family: Family, at: int) -> Iterator[HistogramDataPoint]:
    for labels, value in family.samples:
        counts: list[int] = []
        bounds: tuple[float, ...] = ()
        if isinstance(value, HistogramValue):
            steps = zip((0, *value.cumulative), value.cumulative, strict=False)  # the first has no step before it
            counts, bounds, count = [upper - lower for lower, upper in steps], value.bounds, value.cumulative[-1]
        elif isinstance(value, SummaryValue):
            count = value.count
        else:
            continue
        attributes = _attributes(family, labels)
        yield HistogramDataPoint(attributes, _START, at, count, value.total, counts, bounds, _ABSENT, _ABSENT)


def _attributes(family: Family, labels: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(family.metric.labels, labels, strict=True))
