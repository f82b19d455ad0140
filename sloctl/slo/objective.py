"""What an SLO asks for, free of any file format: selectors, indicators, objectives."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from sloctl.slo.calendars import Calendar
from sloctl.slo.exclusions import Exclusion
from sloctl.slo.windows import Alarm, AlertWindow
from sloctl.telemetry.catalogue import REQUEST_DURATION, Kind, find

Op = Literal["lte", "lt", "gte", "gt"]

SHARE_PARTS = 10**9  # of a sampled share: 64 bits hold 290 years of seconds
COUNT_PARTS = 10**6  # of a sampled count: as long for counts of some thousands
SLICE_PARTS = 10**12  # of a time slice: 64 bits hold 17 years of minutes


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
    """Good (or total less bad) over total. Exactly one of `good` and `bad`, else ValueError.

    All are counters; or, where `sampled`, gauges that count something at a moment, whose values once a second
    are added up.
    """

    total: Selector
    good: Selector | None = None
    bad: Selector | None = None
    sampled: bool = False

    def __post_init__(self) -> None:
        if (self.good is None) == (self.bad is None):
            raise ValueError("a ratio needs either good or bad, and not both")


@dataclass(frozen=True, slots=True)
class Raw:
    """A gauge that is the share of good (or, with `failure`, of bad) already: averaged over one sample a second."""

    selector: Selector
    failure: bool = False


@dataclass(frozen=True, slots=True)
class QueryRatio:
    """Good (or total less bad) over total by PromQL, `{{.window}}` standing for the range.

    Exactly one of `good` and `bad`. `source` names the Prometheus, where that is said.
    """

    total: str
    good: str | None = None
    bad: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class QueryShare:
    """The share of good (or, with `failure`, of bad) by PromQL, likewise; its events cannot be counted."""

    query: str
    failure: bool = False
    source: str = ""


@dataclass(frozen=True, slots=True)
class QueryThreshold:
    """Good is while every series of a query by PromQL keeps `op value`; a sample every 15 seconds is an event."""

    query: str
    op: Op
    value: float
    source: str = ""


Query = QueryRatio | QueryShare | QueryThreshold
Indicator = Threshold | Ratio | Raw | Query


def source_of(indicator: Query, known: Sequence[str]) -> str | None:
    """Which of the known Prometheus an indicator is asked of: the one that it names, or the only one there is."""
    if indicator.source in known:
        return indicator.source
    return known[0] if len(known) == 1 else None


@dataclass(frozen=True, slots=True)
class Slices:
    """Time slices of whole seconds as the events of an SLO.

    With a `target` a slice is good or bad: good when at least that share of its events was. Without one each
    counts by its own share, so that all weigh the same. A slice without events is no event.
    """

    seconds: int
    target: float | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    """What alerts of one severity are called and carry; empty fields are for the defaults. Templates of Prometheus.

    `windows` are in place of those of the table.
    """

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    windows: tuple[AlertWindow, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetStep:
    """What is to be known once less than `below` of the error budget is left: an alert with this message."""

    name: str
    below: float
    message: str
    severity: str = "ticket"


@dataclass(frozen=True, slots=True)
class Objective:
    """One target over one indicator: the share of good events, in (0, 1), over a period.

    The period rolls over `period_seconds`, or is that of a `calendar` (then `period_seconds` is its nominal length).
    With `alarms` an SLO has these alerts in place of the table's. `tiers` say by severity what alerts carry; of one
    that is None there are none. With fewer than `minimum_events` in a long window none fires. What happens within its
    `exclusions` is no event. `budget_steps` tell of what is left of the budget. `origin` is the format
    that the SLO was written in.
    """

    name: str
    service: str
    display_name: str
    indicator: Indicator
    target: float
    period_seconds: float
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    calendar: Calendar | None = None
    slices: Slices | None = None
    alarms: tuple[Alarm, ...] | None = None
    tiers: Mapping[str, Tier | None] = field(default_factory=dict)
    minimum_events: int = 0
    exclusions: tuple[Exclusion, ...] = ()
    budget_steps: tuple[BudgetStep, ...] = ()
    origin: str = "openslo/v1"

    @property
    def unit(self) -> int:
        """How many counts make one event: shares of an event are counted in whole parts of it."""
        if self.slices is not None:
            return 1 if self.slices.target is not None else SLICE_PARTS
        if isinstance(self.indicator, Raw | QueryShare):
            return SHARE_PARTS
        if isinstance(self.indicator, QueryRatio):  # increases are not whole, and rates are small
            return COUNT_PARTS
        return COUNT_PARTS if isinstance(self.indicator, Ratio) and self.indicator.sampled else 1

    @property
    def definition(self) -> str:
        """What is counted, as text; a history goes on only while this stays the same."""
        return repr(self.indicator) if self.slices is None else repr((self.indicator, self.slices))

    @property
    def budget(self) -> float:
        """Share of events that may be bad: 1 − target, in decimal, since 1 − 0.99 is not 0.01 in floats."""
        return float(1 - Decimal(str(self.target)))


def latency_objective(objectives: Iterable[Objective], model: str) -> float | None:
    """Seconds within which a model's requests have to be answered, None where no SLO says so.

    Of several thresholds the one that most requests have to keep, and of those the tightest: that half of them take at
    most 50 ms says nothing of how long the others may.
    """
    found = [
        (-objective.target, threshold.value)
        for objective in objectives
        if isinstance(threshold := objective.indicator, Threshold)
        and threshold.selector.metric == REQUEST_DURATION.name
        and threshold.op in ("lte", "lt")
        and model in threshold.selector.labels.get("model", (model,))
    ]
    return min(found)[1] if found else None


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
