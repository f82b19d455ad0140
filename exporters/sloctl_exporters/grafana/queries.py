"""PromQL over catalogue metrics, with a dashboard's variables as matchers.

Everything goes through here, so that each query matches job and instance and a counter never appears bare.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sloctl.telemetry.catalogue import Kind, Metric

INTERVAL = "$__rate_interval"
RANGE = "$__range"


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries of one dashboard; `matchers` are by the label that they narrow, such as `model=~"$model"`."""

    matchers: Mapping[str, str]

    def series(self, metric: Metric, suffix: str = "", *, extra: str = "") -> str:
        """A selector of a metric's series, narrowed by every variable whose label the metric has."""
        own = [matcher for label, matcher in self.matchers.items() if label in metric.labels]
        matchers = ['job=~"$job"', 'instance=~"$instance"', *own, *([extra] if extra else [])]
        return f"{metric.name}{suffix}{{{', '.join(matchers)}}}"

    def gauge(self, metric: Metric, by: str = "", how: str = "sum", *, extra: str = "") -> str:
        """A gauge over instances, kept apart by the labels `by`."""
        if metric.kind is not Kind.GAUGE:
            raise ValueError(f"{metric.name} is not a gauge")
        selector = self.series(metric, extra=extra)
        return f"{how} by ({by}) ({selector})" if by else f"{how}({selector})"

    def count(self, metric: Metric, by: str = "") -> str:
        """How many series there are, kept apart by the labels `by`."""
        if metric.kind not in (Kind.GAUGE, Kind.INFO):
            raise ValueError(f"{metric.name} counts something itself")
        return f"count by ({by}) ({self.series(metric)})" if by else f"count({self.series(metric)})"

    def rate(self, metric: Metric, by: str = "", *, extra: str = "") -> str:
        """A counter's increase a second."""
        return self._over(metric, "rate", INTERVAL, by, extra)

    def increase(self, metric: Metric, by: str = "", *, extra: str = "", window: str = RANGE) -> str:
        """A counter's increase over the time that the dashboard shows."""
        return self._over(metric, "increase", window, by, extra)

    def quantile(self, q: float, metric: Metric, by: str) -> str:
        """A quantile of a histogram, from its buckets."""
        return f"histogram_quantile({q}, {self.buckets(metric, f'le, {by}')})"

    def buckets(self, metric: Metric, by: str = "le", *, function: str = "rate") -> str:
        """A histogram's buckets."""
        if metric.kind is not Kind.HISTOGRAM:
            raise ValueError(f"{metric.name} is not a histogram")
        return f"sum by ({by}) ({function}({self.series(metric, '_bucket')}[{INTERVAL}]))"

    def mean(self, metric: Metric, by: str = "", *, function: str = "rate", window: str = INTERVAL) -> str:
        """The mean of a histogram's or summary's observations; nothing, rather than NaN, where there were none."""
        if metric.kind not in (Kind.HISTOGRAM, Kind.SUMMARY):
            raise ValueError(f"{metric.name} has neither count nor sum")
        total, count = (f"sum by ({by}) ({function}({self.series(metric, s)}[{window}]))" for s in ("_sum", "_count"))
        return share(total, count)

    def each(self, counter: Metric, histogram: Metric, by: str = "") -> str:
        """How much a counter grows with each observation of a histogram; nothing where there were none."""
        if histogram.kind is not Kind.HISTOGRAM:
            raise ValueError(f"{histogram.name} is not a histogram")
        return share(self.rate(counter, by), f"sum by ({by}) (rate({self.series(histogram, '_count')}[{INTERVAL}]))")

    def new(self, metric: Metric, *, extra: str = "") -> str:
        """Above 0 at the one step in which a counter rose, so that marks sit where something happened."""
        if metric.kind is not Kind.COUNTER:
            raise ValueError(f"{metric.name} is not a counter")
        selector = self.series(metric, extra=extra)
        return f"{selector} - {selector} offset $__interval > 0"

    def _over(self, metric: Metric, function: str, window: str, by: str, extra: str) -> str:
        if metric.kind is not Kind.COUNTER:
            raise ValueError(f"{metric.name} is not a counter")
        return f"sum by ({by}) ({function}({self.series(metric, extra=extra)}[{window}]))"


def share(part: str, whole: str) -> str:
    """A ratio of two rates; nothing, rather than NaN, where the whole is 0."""
    return f"{part} / ({whole} > 0)"


def until_zero(gauge: str, window: str) -> str:
    """Seconds until a gauge that falls as it did in `window` reaches 0; nothing where it does not fall."""
    return f"clamp_min({gauge}, 0) / -(deriv({gauge}[{window}]) < 0)"
