"""Times that are left out of an SLO: maintenance that was planned, once or again and again."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Protocol

from dateutil.rrule import rrule, rrulestr

from sloctl.slo.calendars import moment_of

_SLOWER = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")
_MOST_A_YEAR = 1000
_LAST = "20991231T235959"
_LOOK = 86400.0  # seconds that are looked ahead at once
_DAY = timedelta(days=1)


class Exclusion(Protocol):
    """Intervals of Unix time, each without its beginning and with its end, as windows are."""

    @property
    def reason(self) -> str:
        """Why, for people."""

    def between(self, begin: float, end: float) -> Iterator[tuple[float, float]]:
        """The intervals that overlap a stretch of time, ascending by their beginning."""


@dataclass(frozen=True, slots=True)
class Once:
    """One interval."""

    begin: float
    end: float
    reason: str = ""

    def between(self, begin: float, end: float) -> Iterator[tuple[float, float]]:
        """It, if it overlaps."""
        if self.begin < end and begin < self.end:
            yield self.begin, self.end


@dataclass(frozen=True)
class Recurring:
    """Intervals of `duration` seconds from the occurrences of a rule (RFC 5545, RRULE) in a zone's civil time.

    `start` is the rule's DTSTART. An occurrence that the clocks leave out is at the moment of their change, and of one
    that comes twice the first is meant; the duration is of elapsed time. Raises ValueError for a rule that is none,
    or comes more often than daily or 1,000 times a year. Occurrences end with the year 2099.
    """

    rule: str
    start: datetime
    zone: str
    duration: float
    reason: str = ""

    def __post_init__(self) -> None:
        """The rule is checked at once."""
        found = list(islice(self._occurrences, _MOST_A_YEAR + 1))
        if not found:
            raise ValueError("the rule never comes; expected one such as FREQ=WEEKLY;BYDAY=SU")
        if len(found) > _MOST_A_YEAR and found[-1] - found[0] < timedelta(days=365):
            raise ValueError(f"the rule comes more than {_MOST_A_YEAR} times a year; expected fewer, longer times")

    @cached_property
    def _occurrences(self) -> rrule:
        parts = dict(part.partition("=")[::2] for part in self.rule.split(";"))
        if len(self.rule) > 500 or not self.rule.startswith("FREQ=") or "\n" in self.rule:
            raise ValueError("expected a rule such as FREQ=WEEKLY;BYDAY=SU (RFC 5545, RRULE)")
        if parts["FREQ"] not in _SLOWER:
            raise ValueError(f"expected FREQ={' or '.join(_SLOWER)}, got {parts['FREQ']}")
        if "COUNT" in parts or parts.setdefault("UNTIL", _LAST) > _LAST:
            raise ValueError("expected no COUNT, and an UNTIL before 2100")
        text = ";".join(f"{name}={value}" for name, value in parts.items())
        try:
            rule = rrulestr(text, dtstart=self.start, cache=True)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise ValueError(f"not a rule of RFC 5545: {error}") from None
        assert isinstance(rule, rrule)  # noqa: S101  a single RRULE makes one
        return rule

    def between(self, begin: float, end: float) -> Iterator[tuple[float, float]]:
        """The intervals that overlap a stretch."""
        first = _civil(begin - self.duration) - _DAY  # no zone is further than that from UTC
        last = _civil(end) + _DAY
        for civil in self._occurrences.between(first, last, inc=True):
            moment = moment_of(civil, self.zone)
            if moment < end and begin < moment + self.duration:
                yield moment, moment + self.duration


def _civil(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None)


@dataclass
class Timetable:
    """Exclusions of one SLO as the moments at which they begin and end."""

    exclusions: Sequence[Exclusion]
    _known: tuple[float, float] = (math.inf, -math.inf)  # for what stretch `_intervals` hold
    _intervals: list[tuple[float, float, str]] = field(default_factory=list)

    def reason(self, at: float) -> str | None:
        """Why a moment is left out; None where it is not."""
        if not self._known[0] < at <= self._known[1]:
            self._known = at - _LOOK, at + _LOOK
            self._intervals = sorted(
                (*interval, each.reason) for each in self.exclusions for interval in each.between(*self._known)
            )
        return next((why for begin, end, why in self._intervals if begin < at <= end), None)
