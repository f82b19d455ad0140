"""Durations: what is accepted, and that writing and reading are inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sloctl.config.base import FROM_FILE, format_duration, parse_duration
from sloctl.config.daemon import ControlConfig


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1.1ms", 0.0011), ("5m", 300), ("1h30m", 5400), ("30d", 2592000), ("4w", 2419200), ("0s", 0)],
)
def test_a_duration_is_the_float_that_a_person_would_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("bad", ["", "5", "5x", "m", "-5m", "5 m", "5m ", "1e3s", 5, None, True, [], "5M", "٥m"])
def test_what_is_not_a_duration_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 250ms"):
        parse_duration(bad)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (1.5, "1500ms"), (90, "1m30s"), (604800, "7d"), (1e-7, "0.0001ms"), (0.3, "300ms")],
)
def test_the_shortest_form_is_written(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e12, allow_nan=False))
def test_writing_then_reading_gives_the_same_float(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


def test_a_number_without_a_unit_is_refused_from_a_file_but_not_from_a_resolved_configuration() -> None:
    assert ControlConfig.model_validate({"tick": 0.5}).tick == 0.5
    with pytest.raises(ValidationError, match="expected a duration"):
        ControlConfig.model_validate({"tick": 0.5}, context=FROM_FILE)
