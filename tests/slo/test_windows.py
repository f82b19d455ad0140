from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
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
    assert [w.factor(days * DAY) for w in scaled] == pytest.approx([14.4, 6, 3, 1], rel=0.02)
    assert [w.long / (days * DAY) for w in scaled] == pytest.approx([w.long / (30 * DAY) for w in workbook], rel=0.02)


def test_a_one_day_slo_pages_over_two_minutes_and_not_over_an_hour(workbook: tuple[AlertWindow, ...]) -> None:
    assert [(w.long, w.short) for w in for_period(workbook, DAY)] == [
        (120, 10),
        (720, 60),
        (2880, 240),
        (8700, 720),  # beyond an hour in whole five minutes
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


# --- solved for any period

HOUR = 3600.0
TABLE = Path(__file__).parents[2] / "rules/windows/sre-workbook.yaml"
PERIODS = st.one_of(
    st.sampled_from([HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY, 30 * DAY, 90 * DAY, 365 * DAY]),
    st.integers(60, 366 * 24 * 60).map(lambda minutes: minutes * 60.0),
)
STEPS = st.sampled_from([1, 60, 300, 3600])


@pytest.fixture(scope="module")
def table() -> tuple[AlertWindow, ...]:
    return AlertWindows.model_validate(yaml.load(TABLE.read_text(), yaml.CSafeLoader)).windows()


@given(PERIODS, STEPS)
def test_every_period_from_an_hour_to_a_year_has_windows_within_it(
    table: tuple[AlertWindow, ...], period: float, step: int
) -> None:
    for pair in for_period(table, period, step):
        assert step <= pair.short <= pair.long <= max(period, step)
        assert pair.long % step == pair.short % step == 0
        assert pair.long <= HOUR or step > 1 or pair.long % 300 == 0


@given(PERIODS)
def test_burning_at_the_factor_for_the_long_window_spends_the_share(
    table: tuple[AlertWindow, ...], period: float
) -> None:
    for pair, written in zip(for_period(table, period), table, strict=True):
        alarm = pair.alarm()
        spent = alarm.factor * alarm.long / period
        assert spent == pytest.approx(written.share, rel=1e-6) or alarm.factor == 1
        assert alarm.factor >= 1, "no alert within the budget"
        assert spent <= written.share * 1.05


@given(PERIODS)
def test_windows_and_factors_are_those_of_the_table_in_proportion(
    table: tuple[AlertWindow, ...], period: float
) -> None:
    for pair, written in zip(for_period(table, period), table, strict=True):
        expected = written.long * period / written.period
        assert abs(pair.long - expected) <= (150 if expected > HOUR else 0.5)
        # Rounding moves a window by at most half a second in five, or half of five minutes in an hour.
        assert pair.factor(period) == pytest.approx(max(written.factor(written.period), 1), rel=0.11)


@given(PERIODS)
def test_pages_burn_faster_than_tickets_whatever_the_period(table: tuple[AlertWindow, ...], period: float) -> None:
    pairs = for_period(table, period)
    assert sorted((p.factor(period) for p in pairs), reverse=True) == [p.factor(period) for p in pairs]
    assert for_period(for_period(table, period), period) == pairs, "fitted once, a table stays"
