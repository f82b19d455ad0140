"""What an SLO asks for, free of any file format: selectors, indicators, objectives."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from sloctl.telemetry.catalogue import Kind, find

Op = Literal["lte", "lt", "gte", "gt"]


@dataclass(frozen=True, slots=True)
class Selector:
    """Series of one metric. A label may have several allowed values; one that is not named may have any."""

    metric: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Good is what keeps `op value`.

    Over a histogram each observation is an event; buckets count `<= bound`, so `lt` is taken as `lte` and
    `gte` as `gt`. Over a gauge one sample a second is an event, good while every selected series keeps it.
    """

    selector: Selector
    op: Op
    value: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Good (or total less bad) over total, all counters. Exactly one of `good` and `bad`, else ValueError."""

    total: Selector
    good: Selector | None = None
    bad: Selector | None = None

    def __post_init__(self) -> None:
        if (self.good is None) == (self.bad is None):
            raise ValueError("a ratio needs either good or bad, and not both")


Indicator = Threshold | Ratio


@dataclass(frozen=True, slots=True)
class Objective:
    """One target over one indicator: the share of good events, in (0, 1), over a rolling period."""

    name: str
    service: str
    display_name: str
    indicator: Indicator
    target: float
    period_seconds: float
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def budget(self) -> float:
        """Share of events that may be bad: 1 − target, in decimal, since 1 − 0.99 is not 0.01 in floats."""
        return float(1 - Decimal(str(self.target)))


def thresholds(objectives: Iterable[Objective]) -> tuple[float, ...]:
    """The latency thresholds in seconds, ascending, that must be bounds of the duration histograms."""
    found = set()
    for objective in objectives:
        indicator = objective.indicator
        if isinstance(indicator, Threshold):
            metric = find(indicator.selector.metric)
            if metric and metric.kind is Kind.HISTOGRAM and metric.unit == "seconds":
                found.add(indicator.value)
    return tuple(sorted(found))
