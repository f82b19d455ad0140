"""Times that are left out of SLOs: rules of recurrence in civil time, and what counts beside them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sloctl.slo.exclusions import Exclusion, Once, Recurring, Timetable
from sloctl.slo.maintenance import ExclusionSpec, Maintenance

BERLIN = "Europe/Berlin"
HOUR = 3600.0


def unix(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def inside(exclusions: Iterable[Exclusion], *moments: float) -> list[bool]:
    table = Timetable(tuple(exclusions))
    return [table.reason(moment) is not None for moment in moments]


def test_an_interval_holds_its_end_and_not_its_beginning_as_windows_do() -> None:
    begin = unix("2026-11-21T02:00:00")
    assert inside([Once(begin, begin + HOUR)], begin, begin + 0.25, begin + HOUR, begin + HOUR + 0.25) == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        pytest.param("2026-01-04T03:30:00", True, id="in winter"),
        pytest.param("2026-01-04T02:30:00", False, id="an hour before"),
        pytest.param("2026-07-05T03:30:00", True, id="in summer at the same civil time"),
        pytest.param("2026-07-06T03:30:00", False, id="on Mondays not"),
    ],
)
def test_a_rule_keeps_its_civil_time_over_the_year(at: str, expected: bool) -> None:
    sundays = Recurring("FREQ=WEEKLY;BYDAY=SU", datetime(2025, 1, 5, 3), BERLIN, HOUR)
    assert inside([sundays], unix(at, BERLIN)) == [expected]


def test_an_occurrence_that_the_clocks_leave_out_is_at_their_change_and_lasts_as_long() -> None:
    nightly = Recurring("FREQ=DAILY", datetime(2026, 1, 1, 2, 30), BERLIN, HOUR)
    change = unix("2026-03-29T01:00:00")
    assert inside([nightly], change - 1, change + 1, change + HOUR, change + HOUR + 1) == [False, True, True, False]


@given(
    st.sampled_from(
        [
            "FREQ=DAILY",
            "FREQ=WEEKLY;BYDAY=MO,TH",
            "FREQ=MONTHLY;BYDAY=-1SU",
            "FREQ=DAILY;INTERVAL=3;UNTIL=20260401T000000",
        ]
    ),
    st.integers(0, 365 * 24 * 60),
    st.floats(60, 3 * 86400),
)
def test_every_moment_is_left_out_just_when_an_occurrence_lasts(rule: str, minute: int, lasts: float) -> None:
    start = datetime(2026, 1, 1, 22, 15)
    moment = unix("2026-01-01T00:00:00") + 60.0 * minute
    occurrences = rrulestr(rule, dtstart=start).between(datetime(2025, 12, 1), datetime(2027, 3, 1), inc=True)
    begins = [civil.replace(tzinfo=UTC).timestamp() for civil in occurrences]
    expected = any(begin < moment <= begin + lasts for begin in begins)
    assert inside([Recurring(rule, start, "UTC", lasts)], moment) == [expected]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("FREQ=HOURLY", "expected FREQ=YEARLY or MONTHLY or WEEKLY or DAILY, got HOURLY"),
        ("FREQ=DAILY;BYHOUR=0,6,12,18;BYMINUTE=0,30", "more than 1000 times a year"),
        ("FREQ=DAILY;COUNT=3", "expected no COUNT"),
        ("FREQ=DAILY;UNTIL=99991231T000000", "an UNTIL before 2100"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "the rule never comes"),
        ("FREQ=WEEKLY;BYDAY=XX", "not a rule of RFC 5545"),
        ("every sunday", "expected a rule such as"),
        ("FREQ=DAILY\nEXRULE:FREQ=DAILY", "expected a rule such as"),
    ],
)
def test_a_rule_that_is_none_or_too_much_is_refused(rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recurring(rule, datetime(2026, 1, 1), "UTC", HOUR)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "expected either from and to, or rrule"),
        ({"from": "2026-01-01T00:00:00Z"}, "from and to belong together"),
        ({"rrule": "FREQ=DAILY", "start": "2026-01-01T03:00:00"}, "rrule, start and duration belong together"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to is not after from"),
        ({"from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00"}, "timezone"),
        ({"rrule": "FREQ=DAILY", "start": "tonight", "duration": "1h"}, "expected a civil time"),
        ({"rrule": "FREQ=DAILY", "start": "2026-01-01", "duration": "1h", "timeZone": "Mars"}, "unknown time zone"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ExclusionSpec.model_validate(fields)


def test_maintenance_concerns_slos_by_name_or_pattern() -> None:
    once = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    document = {
        "apiVersion": "sloctl/v1",
        "kind": "Maintenance",
        "metadata": {"name": "new-year"},
        "spec": {"slos": ["shop-*", "digits"], "exclusions": [once]},
    }
    maintenance = Maintenance.model_validate(document)
    assert [maintenance.concerns(name) for name in ("shop-latency", "digits", "digits-2")] == [True, True, False]
    assert [each.reason for each in maintenance.exclusions()] == ["new-year"]
