"""Calendar periods: their bounds in a time zone's civil time, so that a day of 23 hours is still one day."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Unit = Literal["m", "h", "d", "w", "M", "Q", "Y"]

_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_SPANS = {"d": timedelta(days=1), "w": timedelta(weeks=1)}
_MOST_DAYS = {"d": 1, "w": 7, "M": 31, "Q": 92, "Y": 366}
_SET_BACK = 86400.0  # seconds; an hour each autumn, and a whole day where a zone changed sides of the date line
NOMINAL: dict[Unit, float] = {
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "M": 30 * 86400.0,
    "Q": 90 * 86400.0,
    "Y": 365 * 86400.0,
}


@dataclass(frozen=True, slots=True)
class Calendar:
    """Periods of `count` units that follow each other from `start`, a civil time in `zone` (an IANA name).

    Days, weeks, months, quarters and years are counted on the calendar: they begin at the same time of day
    whatever the clocks do. Minutes and hours are of fixed length. A start on the 31st falls on the last day of
    shorter months. A civil time that the clocks leave out counts as the moment of the change; of one that
    comes twice, the first is meant.
    """

    count: int
    unit: Unit
    start: datetime
    zone: str

    @property
    def nominal(self) -> float:
        """Seconds of a period without the calendar's quirks: 30 days a month, 365 a year."""
        return self.count * NOMINAL[self.unit]

    @property
    def longest(self) -> float:
        """Seconds that no period is longer than: months of 31 days, and clocks that are set back."""
        if self.unit in ("m", "h"):
            return self.nominal
        return self.count * _MOST_DAYS[self.unit] * 86400.0 + _SET_BACK

    def begin(self, now: float) -> float:
        """Unix time at which the period of a moment began. A moment at a bound belongs to the earlier period.

        Before `start` the same periods are counted backwards.
        """
        return self._bound(self._index(now))

    def end(self, now: float) -> float:
        """Unix time at which the period of a moment ends."""
        return self._bound(self._index(now) + 1)

    def _index(self, now: float) -> int:
        index = self._guess(now)
        while self._bound(index) >= now:
            index -= 1
        while self._bound(index + 1) < now:
            index += 1
        return index

    def _guess(self, now: float) -> int:
        if self.unit in ("m", "h"):
            return int((now - self._bound(0)) // self.nominal)
        local = datetime.fromtimestamp(now, ZoneInfo(self.zone)).replace(tzinfo=None)
        if self.unit in _MONTHS:
            months = (local.year - self.start.year) * 12 + local.month - self.start.month
            return months // (self.count * _MONTHS[self.unit])
        return (local - self.start) // (self.count * _SPANS[self.unit])

    def _bound(self, index: int) -> float:
        steps = index * self.count
        if self.unit in ("m", "h"):
            return moment_of(self.start, self.zone) + index * self.nominal
        if self.unit in _MONTHS:
            return moment_of(_months_later(self.start, steps * _MONTHS[self.unit]), self.zone)
        return moment_of(self.start + steps * _SPANS[self.unit], self.zone)


def moment_of(civil: datetime, zone: str) -> float:
    """Unix time of a civil time. One that the clocks leave out is the moment of the change; of two, it is the first."""
    place = ZoneInfo(zone)
    moment = civil.replace(tzinfo=place).timestamp()
    if datetime.fromtimestamp(moment, place).replace(tzinfo=None) == civil:
        return moment
    # Left out: with the offset after the gap it lies before the change, and the gap's length apart.
    return _change(moment, civil.replace(tzinfo=place, fold=1).timestamp(), place)


def _change(late: float, early: float, zone: ZoneInfo) -> float:
    """The moment between two at which a zone's offset changes, to the second."""
    before = datetime.fromtimestamp(early, zone).utcoffset()
    low, high = int(early), int(late)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if datetime.fromtimestamp(middle, zone).utcoffset() == before else (low, middle)
    return float(high)


def _months_later(start: datetime, months: int) -> datetime:
    years, month = divmod(start.month - 1 + months, 12)
    year = start.year + years
    return start.replace(year=year, month=month + 1, day=min(start.day, monthrange(year, month + 1)[1]))
