"""PromQL over catalogue metrics, with the dashboard's variables as matchers.

Everything goes through here, so that each target matches job and instance and a counter never appears bare.
"""

from sloctl.telemetry.catalogue import Kind, Metric

INTERVAL = "$__rate_interval"
RANGE = "$__range"


def series(metric: Metric, suffix: str = "", *, extra: str = "") -> str:
    """A selector of a metric's series, by model where the metric has that label."""
    matchers = ['job=~"$job"', 'instance=~"$instance"']
    if "model" in metric.labels:
        matchers.append('model=~"$model"')
    if extra:
        matchers.append(extra)
    return f"{metric.name}{suffix}{{{', '.join(matchers)}}}"


def gauge(metric: Metric, by: str = "", how: str = "sum") -> str:
    """A gauge over instances, kept apart by the labels `by`."""
    if metric.kind is not Kind.GAUGE:
        raise ValueError(f"{metric.name} is not a gauge")
    return f"{how} by ({by}) ({series(metric)})" if by else f"{how}({series(metric)})"


def rate(metric: Metric, by: str = "", *, extra: str = "") -> str:
    """A counter's increase a second."""
    return _over(metric, "rate", INTERVAL, by, extra)


def increase(metric: Metric, by: str = "", *, extra: str = "") -> str:
    """A counter's increase over the time that the dashboard shows."""
    return _over(metric, "increase", RANGE, by, extra)


def _over(metric: Metric, function: str, window: str, by: str, extra: str) -> str:
    if metric.kind is not Kind.COUNTER:
        raise ValueError(f"{metric.name} is not a counter")
    return f"sum by ({by}) ({function}({series(metric, extra=extra)}[{window}]))"


def quantile(q: float, metric: Metric, by: str) -> str:
    """A quantile of a histogram, from its buckets."""
    if metric.kind is not Kind.HISTOGRAM:
        raise ValueError(f"{metric.name} is not a histogram")
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({series(metric, '_bucket')}[{INTERVAL}])))"


def mean(metric: Metric, by: str = "", *, function: str = "rate", window: str = INTERVAL) -> str:
    """The mean of a histogram's or summary's observations; nothing, rather than NaN, where there were none."""
    if metric.kind not in (Kind.HISTOGRAM, Kind.SUMMARY):
        raise ValueError(f"{metric.name} has neither count nor sum")
    total, count = (f"sum by ({by}) ({function}({series(metric, s)}[{window}]))" for s in ("_sum", "_count"))
    return f"{total} / ({count} > 0)"


def share(part: str, whole: str) -> str:
    """A ratio of two rates; nothing, rather than NaN, where the whole is 0."""
    return f"{part} / ({whole} > 0)"
