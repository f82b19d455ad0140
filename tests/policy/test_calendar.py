"""Wall time where people live."""

import pytest

from sloctl.policy.calendar import time_of_day, weekday, zone

MONDAY = 1753048800.0  # 2025-07-20 22:00 UTC, a Sunday there and a Monday in Berlin


@pytest.mark.parametrize(
    ("name", "hour", "day"), [("UTC", 22.0, 7.0), ("Europe/Berlin", 0.0, 1.0), ("Asia/Kolkata", 3.5, 1.0)]
)
def test_hour_and_day_are_those_of_the_zone(name: str, hour: float, day: float) -> None:
    assert (time_of_day(MONDAY, name), weekday(MONDAY, name)) == (hour, day)


@pytest.mark.parametrize("name", ["Europe/Bonn", "", "../etc/passwd", "/etc/passwd", "Europe"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no time zone here"):
        zone(name)
