from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.slo.calendars import Calendar, Unit

HOUR, DAY = 3600.0, 86400.0
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"]


def moment(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def months(zone: str = "Europe/Berlin", start: str = "2026-01-01") -> Calendar:
    return Calendar(1, "M", datetime.fromisoformat(start), zone)


@pytest.mark.parametrize(
    ("calendar", "now", "begin", "end"),
    [
        pytest.param(months(), "2026-03-15 12:00", "2026-03-01", "2026-04-01", id="a month"),
        pytest.param(months(), "2025-12-24 18:00", "2025-12-01", "2026-01-01", id="a month before the start"),
        pytest.param(
            months(start="2026-01-31"), "2026-02-28 12:00", "2026-02-28", "2026-03-31", id="the 31st of a short month"
        ),
        pytest.param(months(start="2024-01-31"), "2024-02-29 12:00", "2024-02-29", "2024-03-31", id="of a leap year"),
        pytest.param(
            Calendar(1, "Q", datetime(2026, 1, 1), "Europe/Berlin"),
            "2026-05-05",
            "2026-04-01",
            "2026-07-01",
            id="a quarter",
        ),
        pytest.param(
            Calendar(1, "Y", datetime(2024, 2, 29), "Europe/Berlin"),
            "2025-03-01",
            "2025-02-28",
            "2026-02-28",
            id="a year",
        ),
        pytest.param(
            Calendar(2, "w", datetime(2026, 1, 5), "Europe/Berlin"),
            "2026-01-20",
            "2026-01-19",
            "2026-02-02",
            id="two weeks",
        ),
        pytest.param(
            Calendar(1, "d", datetime(2026, 1, 1, 2, 30), "Europe/Berlin"),
            "2026-06-01 02:00",
            "2026-05-31 02:30",
            "2026-06-01 02:30",
            id="a day that begins at half past two",
        ),
    ],
)
def test_a_period_begins_and_ends_in_civil_time(calendar: Calendar, now: str, begin: str, end: str) -> None:
    at = moment(now, calendar.zone)
    assert calendar.begin(at) == moment(begin, calendar.zone)
    assert calendar.end(at) == moment(end, calendar.zone)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        pytest.param("Europe/Berlin", "2026-03-29", 23, id="the clocks go forward"),
        pytest.param("Europe/Berlin", "2026-10-25", 25, id="the clocks go back"),
        pytest.param("Europe/Berlin", "2026-06-01", 24, id="nothing happens"),
        pytest.param("Australia/Lord_Howe", "2026-04-05", 24.5, id="the clocks go back by half an hour"),
        pytest.param("UTC", "2026-03-29", 24, id="no clocks to change"),
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(zone: str, day: str, hours: float) -> None:
    days = Calendar(1, "d", datetime(2026, 1, 1), zone)
    noon = moment(f"{day} 12:00", zone)
    assert days.end(noon) - days.begin(noon) == hours * HOUR


def test_a_civil_time_that_is_left_out_is_the_moment_of_the_change() -> None:
    days = Calendar(1, "d", datetime(2026, 1, 1, 2, 30), "Europe/Berlin")
    change = datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp()  # 02:00 becomes 03:00
    assert days.begin(change + HOUR) == change


def test_of_a_civil_time_that_comes_twice_the_first_is_meant() -> None:
    days = Calendar(1, "d", datetime(2026, 1, 1, 2, 30), "Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    assert days.begin(first + 1.5 * HOUR) == first


def test_hours_are_of_fixed_length() -> None:
    halves = Calendar(12, "h", datetime(2026, 3, 28), "Europe/Berlin")
    at = moment("2026-03-29 20:00", "Europe/Berlin")
    assert halves.end(at) - halves.begin(at) == 12 * HOUR


@given(
    st.integers(1, 5),
    st.sampled_from(["h", "d", "w", "M", "Q", "Y"]),
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)).map(lambda d: d.replace(microsecond=0)),
    st.sampled_from(ZONES),
    st.integers(631152000, 2208988800),
)
def test_periods_cover_time_without_gap_or_overlap(
    count: int, unit: Unit, start: datetime, zone: str, now: int
) -> None:
    calendar = Calendar(count, unit, start, zone)
    begin, end = calendar.begin(now), calendar.end(now)
    assert begin < now <= end
    assert calendar.begin(end) == begin, "a bound belongs to the earlier period"
    assert calendar.begin(end + 1) == end
    if begin > 631152000:
        assert calendar.end(begin) == begin


@given(
    st.sampled_from(list(Unit.__args__)),
    st.integers(1, 3),
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)),
    st.sampled_from([*ZONES, "Pacific/Apia"]),
    st.floats(6e8, 2.2e9),
)
def test_no_period_is_longer_than_the_longest(unit: Unit, count: int, start: datetime, zone: str, now: float) -> None:
    calendar = Calendar(count, unit, start, zone)
    assert calendar.end(now) - calendar.begin(now) <= calendar.longest
