"""Time of day and day of the week where people live: wall clock in, a zone of the IANA database by name."""

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """The zone of that name; `UTC` needs no database. Raises ValueError for one that this machine does not know."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone here; write UTC, or one such as Europe/Berlin") from None


def time_of_day(wall: float, name: str) -> float:
    """Hours since midnight, 0 to 24, of a Unix time in a zone."""
    local = datetime.fromtimestamp(wall, zone(name))
    return local.hour + local.minute / 60 + local.second / 3600


def weekday(wall: float, name: str) -> float:
    """Day of the week of a Unix time in a zone: 1 Monday to 7 Sunday."""
    return float(datetime.fromtimestamp(wall, zone(name)).isoweekday())
