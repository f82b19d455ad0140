"""Concurrency limits and slack: what they settle at, for any start and any course."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.limit import TOLERANCE, Aimd, Fixed, Gradient
from sloctl.admission.slack import QUANTILE, Slack

MOST = 1000.0


def settled(limit: Gradient | Aimd, capacity: float, baseline: float, least: float, batches: int = 3000) -> float:
    """Where a limit goes that is always made use of: a request then takes limit / capacity (Little's law)."""
    for _ in range(batches):
        limit.observe(max(limit.value / capacity, baseline / 2), baseline, int(limit.value), least)
    return limit.value


@given(
    start=st.floats(1, MOST),
    capacity=st.floats(100, 5000),
    baseline=st.floats(0.01, 0.2),
)
def test_the_gradient_settles_where_requests_take_the_tolerance(start, capacity, baseline):
    found = settled(Gradient(start, MOST), capacity, baseline, 1.0)
    expected = max(TOLERANCE * baseline * capacity + 4, 8.0)  # it never more than halves, and then adds four
    assert found == pytest.approx(min(expected, MOST), rel=0.02)


@given(
    start=st.floats(1, MOST),
    capacity=st.floats(100, 5000),
    baseline=st.floats(0.01, 0.2),
)
def test_additive_increase_goes_up_and_down_around_the_tolerance(start, capacity, baseline):
    found = settled(Aimd(start, MOST), capacity, baseline, 1.0)
    expected = min(TOLERANCE * baseline * capacity, MOST)
    assert 0.85 * expected - 1 <= found <= expected + 2


@pytest.mark.parametrize("kind", [Gradient, Aimd])
@given(times=st.lists(st.floats(0, 100), max_size=200), least=st.floats(1, 50))
def test_whatever_is_seen_it_stays_within_its_bounds(kind, times, least):
    limit = kind(least, MOST)
    for seconds in times:
        limit.observe(seconds, 0.01, 10**6, least)
        assert least <= limit.value <= MOST


@pytest.mark.parametrize("kind", [Gradient, Aimd])
def test_what_is_not_made_use_of_does_not_grow(kind):
    limit = kind(100.0, MOST)
    for _ in range(1000):
        limit.observe(0.001, 0.01, 49, 1.0)
    assert limit.value == 100.0


def test_a_fixed_one_stays():
    for value in (7, math.inf):
        limit = Fixed(value)
        limit.observe(100.0, 0.01, 1000, 50.0)
        assert limit.value == value


@given(seed=st.integers(0, 2**32 - 1))
def test_slack_rests_where_one_in_a_hundred_is_beyond(seed):
    import numpy as np

    numbers = np.random.default_rng(seed)
    slack, beyond = Slack(1), 0
    for number, error in enumerate(numbers.exponential(1.0, 20_000)):
        late = bool(error > slack.values[0])
        beyond += late and number >= 5000
        slack.observe(0, late, 1, 0.5, 100.0)
    assert beyond / 15_000 == pytest.approx(1 - QUANTILE, abs=0.003)


def test_classes_do_not_share_it_and_it_is_bounded():
    slack = Slack(2, initial=1.0)
    slack.observe(0, 0, 8, 50.0, 9.0)
    slack.observe(1, 8, 8, 50.0, 9.0)
    assert slack.values == pytest.approx([0.5, 9.0])
    slack.observe(0, 0, 8, 500.0, 9.0)
    assert slack.values == [0.0, 9.0]
