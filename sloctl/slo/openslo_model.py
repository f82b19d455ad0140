"""OpenSLO v1 `kind: SLO` as far as sloctl takes it (https://github.com/OpenSLO/OpenSLO).

What OpenSLO has and sloctl does not is refused by its field with a reason, never ignored.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from sloctl.config.base import Metadata, Model
from sloctl.slo.objective import Op

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
_PERIOD = re.compile(r"(\d+)(m|h|d|w|M|Q|Y)")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST = 366 * 86400.0


def _refused(why: str) -> BeforeValidator:
    """Marks a field of OpenSLO that sloctl does not take."""

    def refuse(_: Any) -> Any:
        raise ValueError(f"not supported: {why}")

    return BeforeValidator(refuse)


def _only(supported: str) -> BeforeValidator:
    """Marks a field that has one value only; the message names what was asked for and what there is."""

    def check(value: Any) -> Any:
        if value != supported:
            raise ValueError(f"{value!r} is not supported; expected {supported!r}")
        return value

    return BeforeValidator(check)


_TIME_SLICES = _refused("time slices; the budgeting method is Occurrences")
_COMPOSITE = _refused("composite SLOs; write one SLO for each indicator")
_RAW = _refused("raw ratios; give counters as good or bad, and total")


def parse_period(value: Any) -> float:
    """Seconds of an OpenSLO duration shorthand, `1h`, `7d`, `4w`; `1m` is a minute and `1M` a month.

    Months, quarters and years have no fixed length and are refused. Raises ValueError.
    """
    match = _PERIOD.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a duration such as 1h, 7d, 30d or 4w")
    count, unit = int(match[1]), match[2]
    if unit not in _SECONDS:
        raise ValueError(
            f"{value!r} is a calendar period, and only rolling periods of fixed length are supported; "
            "write 30d for a month, 90d for a quarter (1m, in lower case, is a minute)"
        )
    seconds = count * _SECONDS[unit]
    if not 60 <= seconds <= _LONGEST:
        raise ValueError("a period lies between 1m and 366d")
    return seconds


Period = Annotated[float, BeforeValidator(parse_period)]


class SloMetadata(Metadata):
    """Metadata with a name that can be a label value and a part of a file name."""

    name: Name


class MetricSpec(Model):
    """Series of a metric of sloctl's catalogue. A label takes a value or a list of allowed values."""

    metric: str
    labels: dict[str, str | Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)


class MetricSource(Model):
    """Where a metric comes from: sloctl's own measurements."""

    type: Annotated[str, _only("sloctl")]
    spec: MetricSpec
    metric_source_ref: Annotated[None, _refused("name the metric inline under `spec`")] = None


class Metric(Model):
    """A metric of an indicator."""

    metric_source: MetricSource


class RatioMetric(Model):
    """Good or bad events over all events, from counters."""

    counter: bool
    total: Metric
    good: Metric | None = None
    bad: Metric | None = None
    raw: Annotated[None, _RAW] = None
    raw_type: Annotated[None, _RAW] = None

    @model_validator(mode="after")
    def _counted(self) -> "RatioMetric":
        if not self.counter:
            raise ValueError("counter: false is not supported; sloctl's events are counters")
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


class TimeWindow(Model):
    """A rolling period."""

    duration: Period
    is_rolling: bool = False  # OpenSLO's default
    calendar: Annotated[None, _refused("calendar periods; use a rolling one with isRolling: true")] = None

    @model_validator(mode="after")
    def _rolling(self) -> "TimeWindow":
        if not self.is_rolling:
            raise ValueError("only rolling periods are supported; set isRolling: true")
        return self


class SloObjective(Model):
    """One target; `op` and `value` belong to a thresholdMetric (durations in seconds)."""

    display_name: str = ""
    op: Op | None = None
    value: float | None = None
    target: float | None = None
    target_percent: float | None = None
    time_slice_target: Annotated[None, _TIME_SLICES] = None
    time_slice_window: Annotated[None, _TIME_SLICES] = None
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


class SloSpec(Model):
    """The body of an SLO."""

    description: str = ""
    service: Name
    indicator: SloIndicator
    time_window: Annotated[list[TimeWindow], Field(min_length=1, max_length=1)]
    budgeting_method: Annotated[str, _only("Occurrences")]
    objectives: Annotated[list[SloObjective], Field(min_length=1)]
    indicator_ref: Annotated[None, _refused("write the indicator in place, under `indicator`")] = None
    alert_policies: Annotated[None, _refused("alerts come from the alerting windows (see rules/windows)")] = None

    @model_validator(mode="after")
    def _compared(self) -> "SloSpec":
        threshold = self.indicator.spec.threshold_metric is not None
        for index, objective in enumerate(self.objectives):
            given = {objective.op is not None, objective.value is not None}
            if threshold and given != {True}:
                raise ValueError(f"objectives[{index}] needs op and value: the indicator is a thresholdMetric")
            if not threshold and given != {False}:
                raise ValueError(f"objectives[{index}] must have no op or value: the indicator is a ratioMetric")
        return self


class SloDocument(Model):
    """A whole document."""

    api_version: Literal["openslo/v1"]
    kind: Literal["SLO"]
    metadata: SloMetadata
    spec: SloSpec
