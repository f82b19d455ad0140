"""Alerting windows: `kind: AlertWindows`, and how they fit periods of another length.

A pair of windows fires when both burn the error budget faster than its factor: the long one says that it
matters, the short one that it still goes on (SRE workbook, chapter 5, 'Alerting on SLOs'). A pair is written
as the share of the budget that it may spend unnoticed, so

    factor = share × period / long window.

A table is made for one period. For another period its windows are scaled in proportion, which keeps shares
and factors alike: an hour of 30 days becomes two minutes of a day. Keeping the hour would spend 60 % of a
one-day budget before a page at 14.4.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sloctl.config.base import Duration, Metadata, Model

Severity = Literal["page", "ticket"]
SHORTEST = 1.0  # seconds; the history's finest slot
RAW_UP_TO, RECORDED = 3600.0, 300.0  # longest range that rules read from raw series; of what longer ones are made


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alert of one SLO: it fires when the budget burns faster than `factor` over both windows.

    `long` and `short` are seconds, and the same for a single window. It must hold for `after` seconds before it
    fires. `at_least`: a burn rate of exactly the factor counts. `notify` names whom it is for. With fewer than
    `minimum` events in the long window it does not fire.
    """

    name: str
    severity: str
    factor: float
    long: float
    short: float
    after: float = 0.0
    at_least: bool = False
    notify: tuple[str, ...] = ()
    minimum: int = 0

    def exceeded(self, burn: float) -> bool:
        """Whether a burn rate is one to alert on."""
        return burn >= self.factor if self.at_least else burn > self.factor


@dataclass(frozen=True, slots=True)
class AlertWindow:
    """One pair of windows; `share` of the budget is gone once `long` has burned at the factor.

    `long` and `short` are seconds, meant for an SLO over `period` seconds.
    """

    name: str
    severity: Severity
    share: float
    long: float
    short: float
    period: float = 30 * 86400.0

    def factor(self, period: float) -> float:
        """The burn rate above which the pair fires, for an SLO over `period` seconds; never within the budget.

        Rounding a window up to whole slices could bring it below 1.
        """
        return max(round(self.share * period / self.long, 9), 1.0)

    def scaled(self, period: float, step: float = SHORTEST) -> "AlertWindow":
        """The same pair for another period, its windows in whole steps (seconds), at least one.

        The factor is solved anew from what the windows came out as, so that the share is kept.
        """
        scale = period / self.period
        if scale == 1 and not (self.long % step or self.short % step):
            return self
        long, short = (_stepped(window * scale, step) for window in (self.long, self.short))
        return replace(self, long=long, short=short, period=period)

    def alarm(self) -> Alarm:
        """The alert that the pair is for an SLO of its period."""
        return Alarm(self.name, self.severity, self.factor(self.period), self.long, self.short)


def _stepped(window: float, step: float) -> float:
    if step != SHORTEST:  # whole slices, and up, since less than one holds nothing
        return math.ceil(round(window / step, 9)) * step
    # Beyond an hour whole five minutes, of which Prometheus sums up recorded counts.
    return round(window / RECORDED) * RECORDED if window > RAW_UP_TO else max(float(round(window)), SHORTEST)


def for_period(windows: Iterable[AlertWindow], period: float, step: float = SHORTEST) -> tuple[AlertWindow, ...]:
    """The pairs as they are for an SLO over `period` seconds, in whole steps."""
    return tuple(window.scaled(period, step) for window in windows)


class Pair(Model):
    """A pair of windows as written."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]
    severity: Severity
    share: Annotated[float, Field(gt=0, le=1)]
    long: Annotated[Duration, Field(ge=SHORTEST)]
    short: Annotated[Duration, Field(ge=SHORTEST)]

    @model_validator(mode="after")
    def _ordered(self) -> "Pair":
        if self.short > self.long:
            raise ValueError("the short window must not be longer than the long one")
        return self


class WindowsSpec(Model):
    """`period` is the length of SLO that the windows are written for."""

    period: Annotated[Duration, Field(ge=SHORTEST)]
    windows: Annotated[list[Pair], Field(min_length=1)]

    @model_validator(mode="after")
    def _sensible(self) -> "WindowsSpec":
        names = [pair.name for pair in self.windows]
        if len(set(names)) != len(names):
            raise ValueError("a window is named twice")
        for pair in self.windows:
            if pair.long > self.period:
                raise ValueError(f"window {pair.name!r} is longer than the period")
            if round(pair.share * self.period / pair.long, 9) < 1:
                raise ValueError(f"window {pair.name!r} has a factor below 1: it fires within the budget")
        return self


class AlertWindows(Model):
    """A table of alerting windows."""

    api_version: Literal["sloctl/v1"]
    kind: Literal["AlertWindows"]
    metadata: Metadata
    spec: WindowsSpec

    def windows(self) -> tuple[AlertWindow, ...]:
        """The pairs, in the order of the file."""
        period = self.spec.period
        return tuple(
            AlertWindow(pair.name, pair.severity, pair.share, pair.long, pair.short, period)
            for pair in self.spec.windows
        )
