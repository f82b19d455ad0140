"""What exporters read: metric families with their samples, free of any exposition format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sloctl.telemetry.catalogue import Metric


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """A histogram: upper `bounds` (without +Inf), cumulative counts per bound and then of all, and the sum.

    `cumulative` has one more entry than `bounds`; its last is the number of observations.
    """

    bounds: tuple[float, ...]
    cumulative: tuple[int, ...]
    total: float


@dataclass(frozen=True, slots=True)
class SummaryValue:
    """Observations as their count and sum, without quantiles."""

    count: int
    total: float


Value = float | HistogramValue | SummaryValue


@dataclass(slots=True)
class Family:
    """One metric and its samples: label values in the order of `metric.labels`, each with its value."""

    metric: Metric
    samples: list[tuple[tuple[str, ...], Value]] = field(default_factory=list)


Collect = Callable[[], Sequence[Family]]
"""A source of families, read once an export. It must not block and must not raise."""
