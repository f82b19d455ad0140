"""OpenSLO v1 `kind: SLO` and `SLI` as far as sloctl takes them (https://github.com/OpenSLO/OpenSLO).

What OpenSLO has and sloctl does not is refused by its field with a reason, never ignored.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from sloctl.config.base import Metadata, Model
from sloctl.slo.calendars import Calendar
from sloctl.slo.objective import Op
from sloctl.slo.openslo_alerting import AlertPolicySpec, DocumentMetadata, Name
from sloctl.slo.shorthand import LONGEST, SHORTHAND_FORM, Shorthand, parse_period, parse_shorthand, seconds_of


def _refused(why: str) -> BeforeValidator:
    """Marks a field of OpenSLO that sloctl does not take."""

    def refuse(_: Any) -> Any:
        raise ValueError(f"not supported: {why}")

    return BeforeValidator(refuse)


_COMPOSITE = _refused("composite SLOs; write one SLO for each indicator")


class MetricSpec(Model):
    """Series of a metric of sloctl's catalogue, or the query of a Prometheus.

    A label takes a value or a list of allowed values. A query is a template in which `{{.window}}` stands for
    the range, such as `sum(rate(http_requests_total[{{.window}}]))`.
    """

    metric: str | None = None
    labels: dict[str, str | Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)
    query: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "MetricSpec":
        if (self.metric is None) == (self.query is None):
            raise ValueError("expected either metric (of sloctl) or query (of a Prometheus)")
        if self.query is not None and self.labels:
            raise ValueError("a query has its labels inside; expected no labels beside it")
        return self


class MetricSource(Model):
    """Where a metric comes from: sloctl's own measurements or a Prometheus, by type or by a DataSource's name."""

    type: Literal["sloctl", "Prometheus", "prometheus"] | None = None
    metric_source_ref: Name | None = None
    spec: MetricSpec

    @model_validator(mode="after")
    def _typed(self) -> "MetricSource":
        if self.type is None and self.metric_source_ref is None:
            raise ValueError("expected a type (sloctl or Prometheus) or a metricSourceRef")
        if self.type is not None and (self.type == "sloctl") != (self.spec.query is None):
            raise ValueError("expected spec.metric for the type sloctl, spec.query for Prometheus")
        return self


class Metric(Model):
    """A metric of an indicator."""

    metric_source: MetricSource


class RatioMetric(Model):
    """Good or bad events over all events; or, as `raw`, a share that somebody else computed."""

    counter: bool | None = None
    good: Metric | None = None
    bad: Metric | None = None
    total: Metric | None = None
    raw_type: Literal["success", "failure"] | None = None

    raw: Metric | None = None

    @model_validator(mode="after")
    def _counted(self) -> "RatioMetric":
        if (self.raw is None) != (self.raw_type is None):
            raise ValueError("raw and rawType belong together")
        if self.raw is not None:
            if self.total or self.good or self.bad:
                raise ValueError("expected either raw, or total with good or bad")
            return self
        if self.counter is None:
            raise ValueError("missing counter; expected true for counters, false for gauges that count")
        if self.total is None:
            raise ValueError("missing total; expected total with good or bad, or raw with rawType")
        if (self.good is None) == (self.bad is None):
            raise ValueError("expected either good or bad, and not both")
        return self


class IndicatorSpec(Model):
    """Exactly one kind of metric."""

    description: str = ""
    threshold_metric: Metric | None = None
    ratio_metric: RatioMetric | None = None

    @model_validator(mode="after")
    def _one(self) -> "IndicatorSpec":
        if (self.threshold_metric is None) == (self.ratio_metric is None):
            raise ValueError("expected either thresholdMetric or ratioMetric, and not both")
        return self


class SloIndicator(Model):
    """An indicator written in place."""

    metadata: Metadata | None = None
    spec: IndicatorSpec


def _civil(value: Any) -> Any:
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        try:
            return datetime.strptime(value, form)  # noqa: DTZ007  a civil time: its zone is a field of its own
        except (TypeError, ValueError):
            continue
    raise ValueError("expected a date and time without a zone, such as 2026-01-01 00:00:00")


def _zone(value: Any) -> Any:
    try:
        ZoneInfo(value)
    except Exception:
        raise ValueError("no such time zone; expected a name of the IANA database such as Europe/Berlin") from None
    return value


_CIVIL_FORM = WithJsonSchema(
    {
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}( [0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2})?)?$",
        "examples": ["2026-01-01 00:00:00"],
    }
)


class CalendarSpec(Model):
    """Where calendar periods begin: a civil time and its zone."""

    start_time: Annotated[datetime, BeforeValidator(_civil), _CIVIL_FORM]
    time_zone: Annotated[str, BeforeValidator(_zone)]


class TimeWindow(Model):
    """A period that rolls, or those of a calendar."""

    is_rolling: bool = False  # OpenSLO's default
    calendar: CalendarSpec | None = None
    duration: Shorthand

    @field_validator("duration")
    @classmethod
    def _fits(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("is_rolling", True):
            parse_period(value)
        elif not 0 < seconds_of(value) <= LONGEST:
            raise ValueError("a calendar period lies between 1m and 1Y")
        return value

    @model_validator(mode="after")
    def _either(self) -> "TimeWindow":
        if self.is_rolling == (self.calendar is not None):
            raise ValueError("expected either isRolling: true, or a calendar with startTime and timeZone")
        return self

    @property
    def seconds(self) -> float:
        """Length of the period; of a calendar's, its nominal length."""
        return seconds_of(self.duration)

    @property
    def periods(self) -> Calendar | None:
        """The calendar, if there is one."""
        if self.calendar is None:
            return None
        count, unit = parse_shorthand(self.duration)
        return Calendar(count, unit, self.calendar.start_time, self.calendar.time_zone)


def _slice_window(value: Any) -> Any:
    # OpenSLO takes a bare number for minutes.
    minutes = isinstance(value, int) and not isinstance(value, bool)
    seconds = 60.0 * value if minutes else seconds_of(value)
    if not 60 <= seconds <= 86400:
        raise ValueError("a time slice lies between 1m and 1d")
    return int(seconds)


_SLICE_FORM = WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, SHORTHAND_FORM]})


class SloObjective(Model):
    """One target; `op` and `value` belong to a thresholdMetric (durations in seconds)."""

    display_name: str = ""
    op: Op | None = None
    value: float | None = None
    target: float | None = None
    target_percent: float | None = None
    time_slice_target: Annotated[float, Field(gt=0, le=1)] | None = None
    # OpenSLO writes minutes or a duration; here it is seconds.
    time_slice_window: Annotated[int, BeforeValidator(_slice_window), _SLICE_FORM] | None = None
    indicator: Annotated[None, _COMPOSITE] = None
    indicator_ref: Annotated[None, _COMPOSITE] = None
    composite_weight: Annotated[None, _COMPOSITE] = None

    @model_validator(mode="after")
    def _targeted(self) -> "SloObjective":
        if (self.target is None) == (self.target_percent is None):
            raise ValueError("expected either target or targetPercent, and not both")
        if self.target is not None and not 0 < self.target < 1:
            raise ValueError("target must be above 0 and below 1, such as 0.99 (a target of 1 has no error budget)")
        if self.target_percent is not None and not 0 < self.target_percent < 100:
            raise ValueError("targetPercent must be above 0 and below 100, such as 99.9")
        return self

    @property
    def share(self) -> float:
        """The target as a share; 99.9 percent is exactly the float that 0.999 is."""
        if self.target is not None:
            return self.target
        return float(Decimal(str(self.target_percent)) / 100)


class PolicyItem(Model):
    """An alert policy by name, or written in place."""

    alert_policy_ref: Name | None = None
    kind: Literal["AlertPolicy"] | None = None
    metadata: Metadata | None = None
    spec: AlertPolicySpec | None = None

    @model_validator(mode="after")
    def _one(self) -> "PolicyItem":
        if (self.alert_policy_ref is None) == (self.spec is None):
            raise ValueError("expected either alertPolicyRef, or kind, metadata and spec")
        return self


Method = Literal["Occurrences", "Timeslices", "RatioTimeslices"]


class SloSpec(Model):
    """The body of an SLO."""

    description: Annotated[str, Field(max_length=1050)] = ""
    service: Name
    indicator: SloIndicator | None = None
    indicator_ref: Name | None = None
    time_window: Annotated[list[TimeWindow], Field(min_length=1, max_length=1)]
    budgeting_method: Method
    objectives: Annotated[list[SloObjective], Field(min_length=1)]
    alert_policies: Annotated[list[PolicyItem], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "SloSpec":
        if (self.indicator is None) == (self.indicator_ref is None):
            raise ValueError("expected either indicator or indicatorRef, and not both")
        return self


class SloDocument(Model):
    """A whole document."""

    api_version: Literal["openslo/v1"]
    kind: Literal["SLO"]
    metadata: DocumentMetadata
    spec: SloSpec


class SliDocument(Model):
    """An indicator on its own, for SLOs to name."""

    api_version: Literal["openslo/v1"]
    kind: Literal["SLI"]
    metadata: DocumentMetadata
    spec: IndicatorSpec
