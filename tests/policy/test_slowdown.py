"""Which variant is slow, and by how much, from readings of the serving one alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.policy.slowdown import Slowdown


class Seen:
    """A slowdown that is told of two variants, four readings a second."""

    def __init__(self) -> None:
        self.slowdown, self.now = Slowdown(), 0.0

    def go(self, seconds: float, serving: str, reading: float) -> None:
        for _ in range(round(seconds * 4)):
            self.now += 0.25
            self.slowdown.observe(self.now, serving, reading)

    def of(self, variant: str) -> float:
        return self.slowdown.of(variant, self.now)


def test_it_begins_as_measured_and_follows_within_half_a_minute() -> None:
    seen = Seen()
    assert (seen.of("a"), seen.of("b")) == (1.0, 1.0)
    seen.go(30, "a", 2.0)
    assert seen.of("a") == pytest.approx(2.0, abs=0.1)
    seen.go(30, "a", 1.0)
    assert seen.of("a") == 1.0


def test_others_count_as_slowed_as_much_for_their_device_is_the_same() -> None:
    seen = Seen()
    seen.go(60, "a", 2.0)
    assert seen.of("b") == seen.of("a")
    seen.go(120, "a", 30.0)
    assert seen.of("a") == pytest.approx(10.0, rel=0.01)
    assert seen.of("b") == 4.0


def test_where_the_successor_is_slow_too_it_was_the_device_and_all_return_together() -> None:
    seen = Seen()
    seen.go(60, "a", 2.0)
    seen.go(60, "b", 2.0)
    assert seen.of("a") == pytest.approx(2.0, abs=0.1)
    seen.go(60, "b", 1.0)
    assert seen.of("a") == 1.0


def test_where_the_successor_is_fast_it_was_the_variant_and_that_is_forgotten_by_half_in_five_minutes() -> None:
    seen = Seen()
    seen.go(60, "a", 3.0)
    seen.go(5, "b", 1.0)
    assert seen.of("a") == pytest.approx(3.0, abs=0.1)  # not compared yet
    seen.go(60, "b", 1.0)
    first = seen.of("a") - 1
    seen.go(300, "b", 1.0)
    assert first > 1
    assert seen.of("a") - 1 == pytest.approx(first / 2, rel=0.1)
    assert seen.of("b") == 1.0


def test_a_variant_that_is_found_slow_again_is_forgotten_ever_more_slowly() -> None:
    seen, left = Seen(), []
    for _ in range(6):
        seen.go(30, "a", 3.0)
        seen.go(600, "b", 1.0)
        left.append(seen.of("a") - 1)
    assert left == sorted(left)
    assert left[0] < 0.6
    assert left[-1] > 2 * left[0]


def test_without_traffic_it_is_held_for_a_while() -> None:
    seen = Seen()
    seen.go(60, "a", 2.0)
    seen.go(30, "a", math.nan)
    assert seen.of("a") > 1.9
    seen.go(7200, "a", math.nan)
    assert seen.of("a") == 1.0


READINGS = st.one_of(st.just(math.nan), st.floats(0, 1e9), st.just(math.inf))


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from("abc"), READINGS), max_size=60))
def test_it_stays_within_its_bounds_whatever_is_read(course: list[tuple[float, str, float]]) -> None:
    slowdown, now = Slowdown(), 0.0
    for passed, serving, reading in course:
        now += passed
        slowdown.observe(now, serving, reading)
        assert all(1.0 <= slowdown.of(variant, now) <= 10.0 for variant in "abcd")
