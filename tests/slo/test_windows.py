from typing import Any

import pytest
from pydantic import ValidationError

from sloctl.slo.windows import AlertWindow, AlertWindows, for_period

DAY = 86400.0


def test_the_workbooks_factors_come_out_of_its_shares(workbook: tuple[AlertWindow, ...]) -> None:
    table = [(w.severity, w.long / 3600, w.short / 60, w.factor(30 * DAY)) for w in workbook]
    assert table == [("page", 1, 5, 14.4), ("page", 6, 30, 6), ("ticket", 24, 120, 3), ("ticket", 72, 360, 1)]


def test_the_demos_factors_are_those_its_comments_name(demo: tuple[AlertWindow, ...]) -> None:
    assert [(w.long, w.short, w.factor(3600)) for w in demo] == [(10, 2, 14.4), (60, 10, 6)]


@pytest.mark.parametrize("days", [1, 7, 28, 30, 90])
def test_another_period_keeps_shares_and_factors(workbook: tuple[AlertWindow, ...], days: int) -> None:
    scaled = for_period(workbook, days * DAY)
    assert [w.factor(days * DAY) for w in scaled] == pytest.approx([14.4, 6, 3, 1], rel=0.01)
    assert [w.long / (days * DAY) for w in scaled] == pytest.approx([w.long / (30 * DAY) for w in workbook], rel=0.01)


def test_a_one_day_slo_pages_over_two_minutes_and_not_over_an_hour(workbook: tuple[AlertWindow, ...]) -> None:
    assert [(w.long, w.short) for w in for_period(workbook, DAY)] == [
        (120, 10),
        (720, 60),
        (2880, 240),
        (8640, 720),
    ]


def test_no_window_gets_shorter_than_a_second(workbook: tuple[AlertWindow, ...]) -> None:
    assert all(w.short >= 1 and w.long >= 1 for w in for_period(workbook, 600))


PAIR = {"name": "p", "severity": "page", "share": 0.02, "long": "1h", "short": "5m"}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        pytest.param([PAIR | {"short": "2h"}], "must not be longer", id="the short window is the longer one"),
        pytest.param([PAIR, PAIR], "named twice", id="two windows have one name"),
        pytest.param([PAIR | {"long": "40d"}], "longer than the period", id="a window does not fit the period"),
        pytest.param([PAIR | {"long": "1d"}], "factor below 1", id="an alert would fire within the budget"),
        pytest.param([PAIR | {"share": 0}], "greater than 0", id="the share is nothing"),
        pytest.param([PAIR | {"severity": "email"}], "'page' or 'ticket'", id="the severity is unknown"),
        pytest.param([], "at least 1", id="there is no window"),
    ],
)
def test_senseless_windows_are_refused(pairs: list[dict[str, Any]], message: str) -> None:
    document = {
        "apiVersion": "sloctl/v1",
        "kind": "AlertWindows",
        "metadata": {"name": "x"},
        "spec": {"period": "30d", "windows": pairs},
    }
    with pytest.raises(ValidationError, match=message):
        AlertWindows.model_validate(document)
