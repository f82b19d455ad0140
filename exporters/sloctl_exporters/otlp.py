"""Pushes metric families over OTLP, as the OpenTelemetry SDK's own data model."""

import time
from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from sloctl import __version__
from sloctl.telemetry.catalogue import Kind
from sloctl.telemetry.families import Collect, Family, HistogramValue, SummaryValue

_CUMULATIVE = otel.AggregationTemporality.CUMULATIVE


class OtlpPusher:
    """Sends one reading of the families a call."""

    def __init__(self, endpoint: str, collect: Collect, clock: Callable[[], int] = time.time_ns) -> None:
        self._exporter = OTLPMetricExporter(endpoint=endpoint.rstrip("/") + "/v1/metrics", timeout=5)
        self._collect = collect
        self._clock = clock
        self._start = clock()

    def push(self) -> bool:
        """Whether the collector took it. Never raises."""
        try:
            data = to_metrics_data(self._collect(), self._start, self._clock())
            return self._exporter.export(data) is otel.MetricExportResult.SUCCESS
        except Exception:
            return False


def to_metrics_data(families: Sequence[Family], start: int, now: int) -> otel.MetricsData:
    """The families as OTLP metrics; times in Unix nanoseconds. A summary becomes a histogram without buckets."""
    metrics = [
        otel.Metric(f.metric.name, f.metric.help, f.metric.unit, _data(f, start, now)) for f in families if f.samples
    ]
    resource = Resource.create({"service.name": "sloctl", "service.version": __version__})
    scope = otel.ScopeMetrics(InstrumentationScope("sloctl", __version__), metrics, "")
    return otel.MetricsData([otel.ResourceMetrics(resource, [scope], "")])


def _data(family: Family, start: int, now: int) -> otel.Sum | otel.Gauge | otel.Histogram:
    kind = family.metric.kind
    if kind in (Kind.HISTOGRAM, Kind.SUMMARY):
        return otel.Histogram(
            [_histogram(family, index, start, now) for index in range(len(family.samples))], _CUMULATIVE
        )
    points = [
        otel.NumberDataPoint(_attributes(family, labels), start, now, value)
        for labels, value in family.samples
        if isinstance(value, float | int)
    ]
    return otel.Sum(points, _CUMULATIVE, True) if kind is Kind.COUNTER else otel.Gauge(points)


def _histogram(family: Family, index: int, start: int, now: int) -> otel.HistogramDataPoint:
    labels, value = family.samples[index]
    attributes = _attributes(family, labels)
    if isinstance(value, HistogramValue):
        steps = zip((0, *value.cumulative), value.cumulative, strict=False)
        counts = [upper - lower for lower, upper in steps]
        count, total, bounds = value.cumulative[-1], value.total, list(value.bounds)
    elif isinstance(value, SummaryValue):
        counts, count, total, bounds = [value.count], value.count, value.total, []
    else:
        raise TypeError(f"{family.metric.name}: {value!r} is no histogram")
    return otel.HistogramDataPoint(attributes, start, now, count, total, counts, bounds, 0.0, 0.0)


def _attributes(family: Family, labels: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(family.metric.labels, labels, strict=True))
