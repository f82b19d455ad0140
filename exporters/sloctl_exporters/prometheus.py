"""The Prometheus text format and OpenMetrics, through prometheus_client."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from sloctl.telemetry.catalogue import Kind
from sloctl.telemetry.families import Family, HistogramValue, SummaryValue


class FamilyCollector:
    """A prometheus_client collector over one reading of the families."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not collect."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Each family in prometheus_client's own form."""
        return (_convert(family) for family in self._families)


def render(families: Sequence[Family], accept: str = "") -> tuple[bytes, str]:
    """The exposition in the format that the `Accept` header asks for, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FamilyCollector(families))  # type: ignore[arg-type]
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


def _convert(family: Family) -> Metric:
    metric = family.metric
    if metric.kind is Kind.HISTOGRAM:
        return _histogram(family)
    if metric.kind is Kind.SUMMARY:
        summary = SummaryMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in family.samples:
            if isinstance(value, SummaryValue):
                summary.add_metric(labels, count_value=value.count, sum_value=value.total)
        return summary
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    simple = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in family.samples:
        if isinstance(value, float | int):
            simple.add_metric(labels, value)
    return simple


def _histogram(family: Family) -> Metric:
    metric = family.metric
    histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in family.samples:
        if isinstance(value, HistogramValue):
            names = [*(floatToGoString(bound) for bound in value.bounds), "+Inf"]
            buckets = list(zip(names, map(float, value.cumulative), strict=True))
            histogram.add_metric(labels, buckets=buckets, sum_value=value.total)
    return histogram
