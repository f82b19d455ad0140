"""Shares are exact; priorities map to classes as the protocol has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.classes import PriorityClasses
from sloctl.admission.shares import Shares


@pytest.mark.parametrize(
    ("share", "pattern"),
    [
        pytest.param(0.25, "...x...x...x", id="a quarter admits every fourth"),
        pytest.param(0.5, ".x.x.x", id="a half admits every second"),
        pytest.param(1.0, "xxxx", id="the whole admits all"),
        pytest.param(0.0, "....", id="nothing admits none"),
        pytest.param(0.1, ".........x.........x", id="a tenth admits every tenth despite binary fractions"),
    ],
)
def test_pattern_of_admissions(share: float, pattern: str) -> None:
    shares = Shares(1)
    shares.set((share,))
    assert "".join("x" if shares.admit(0) else "." for _ in pattern) == pattern


@given(st.floats(0, 1), st.integers(1, 2000))
def test_admitted_is_within_one_of_the_share(share: float, requests: int) -> None:
    shares = Shares(2)
    shares.set((1.0, share))
    admitted = sum(shares.admit(1) for _ in range(requests))
    assert abs(admitted - share * requests) <= 1.0 + 1e-6


def test_classes_do_not_share_credit() -> None:
    shares = Shares(2)
    shares.set((0.5, 0.5))
    assert [shares.admit(index) for index in (0, 1, 0, 1)] == [False, False, True, True]


def test_a_share_of_zero_admits_none_whatever_credit_was_left() -> None:
    shares = Shares(1)
    shares.set((0.99,))
    shares.admit(0)
    shares.set((0.0,))
    assert not any(shares.admit(0) for _ in range(100))


def test_shares_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 classes want as many shares, not 3"):
        Shares(2).set((1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("priority", "name"),
    [
        pytest.param(None, "normal", id="absent is the default"),
        pytest.param(0, "normal", id="0 is the default"),
        pytest.param(1, "high", id="1 is the highest"),
        pytest.param(3, "low", id="3 is the third"),
        pytest.param(9, "low", id="beyond the last is the last"),
        pytest.param(-1, "normal", id="a negative number is the default"),
    ],
)
def test_priority_to_class(priority: int | None, name: str) -> None:
    classes = PriorityClasses.of(["high", "normal", "low"], "normal")
    assert classes.names[classes.index(priority)] == name
