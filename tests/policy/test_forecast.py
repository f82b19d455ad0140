"""The forecast of the load: robust, certain before it speaks of a trend, and quick where the load has jumped."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.policy.forecast import Forecast, fit


def follow(forecast: Forecast, rates: list[float], start: float = 0.0, step: float = 2.0) -> Forecast:
    for index, rate in enumerate(rates):
        forecast.observe(start + index * step, rate)
    return forecast


@given(st.floats(10, 1e5), st.floats(-0.5, 0.5), st.integers(0, 2**32))
def test_a_tenth_of_wild_samples_moves_the_line_little(level: float, slope: float, seed: int) -> None:
    numbers = random.Random(seed)
    times = np.arange(30.0) - 29.0
    rates = level + slope * level / 100 * times
    for index in numbers.sample(range(30), 3):
        rates[index] = numbers.random() * 100 * level
    line = fit(times, rates)
    assert line.slope == pytest.approx(slope * level / 100, abs=abs(slope * level) / 100 * 0.35 + 1e-9)
    assert line.level == pytest.approx(level, rel=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_noise_has_no_trend_but_for_a_few_windows_of_a_thousand(seed: int) -> None:
    numbers = random.Random(seed)
    forecast, trends = Forecast(60.0), 0
    for index in range(1800):
        forecast.observe(index * 2.0, numbers.gauss(100, 10))
        trends += forecast.slope != 0.0
    assert trends < 1800 * 0.02  # neighbouring windows share their samples, so they come in runs


def test_a_steady_rise_is_followed_ahead_and_a_fall_is_not() -> None:
    rising = follow(Forecast(60.0), [100.0 + index for index in range(31)])
    assert rising.slope == pytest.approx(0.5)
    assert rising.ahead(60.0) == pytest.approx(130 + 0.5 * 60)
    assert rising.ahead(10.0) == pytest.approx(130 + 0.5 * 10)
    falling = follow(Forecast(60.0), [200.0 - index for index in range(31)])
    assert falling.slope == pytest.approx(-0.5)
    assert falling.ahead(60.0) == falling.now() == pytest.approx(170)


def test_no_trend_is_followed_further_than_it_was_seen() -> None:
    short = follow(Forecast(60.0), [100.0 + index for index in range(10)])
    assert short.ahead(600.0) == pytest.approx(109 + 0.5 * 18)


def test_a_jump_counts_at_once_and_its_past_is_forgotten_after_two_samples() -> None:
    forecast = follow(Forecast(60.0), [100.0] * 40)
    assert forecast.settled
    forecast.observe(78.5, 200.0)
    assert forecast.now() > 100.0 + 3 * math.sqrt(100)
    follow(forecast, [200.0] * 3, start=80.0)
    assert not forecast.settled
    assert (forecast.now(), forecast.slope) == (200.0, 0.0)


def test_a_gap_begins_anew_and_a_reading_without_data_is_passed_over() -> None:
    forecast = follow(Forecast(60.0), [100.0 + index for index in range(31)])
    forecast.observe(61.0, math.nan)
    assert forecast.newest == 130.0
    forecast.observe(600.0, 50.0)
    assert (forecast.now(), forecast.slope, forecast.settled) == (50.0 - 3 * math.sqrt(50 / 2), 0.0, False)
    forecast.observe(602.0, 50.0)
    assert forecast.now() == 50.0


def jump(to: float, rise: float, seed: int, size: float = 1.0) -> tuple[float, float]:
    """What is seen half a second after a jump from 1000 was first seen, which takes `rise` seconds."""
    numbers, forecast, tick = np.random.default_rng(seed), Forecast(60.0), 0.25
    times = np.arange(124) * tick
    rates = 1000 + (to - 1000) * (np.clip((times - 30) / rise, 0, 1) if rise else times >= 30)
    arrivals = numbers.poisson(rates * tick / size) * size
    seen = (0.0, math.inf)
    for index in range(4, 124):
        last = arrivals[max(index - 7, 0) : index + 1]
        forecast.observe(float(times[index]), float(last.sum()) / (len(last) * tick), size)
        seen = forecast.seen()
        if seen[0] > 0:
            break
    assert times[index] - 30 <= 1.0
    return seen


@pytest.mark.parametrize("size", [1.0, 8.0])
def test_soon_after_a_jump_the_rate_lies_between_what_is_seen_at_least_and_at_most(size: float) -> None:
    bounds = [jump(3000.0, 0.0, seed, size) for seed in range(100)]
    assert sum(least <= 3000 <= most for least, most in bounds) >= 90
    whole = [most for _, most in bounds if most < math.inf]
    assert len(whole) >= 70, "noise seldom looks like a further rise"
    assert max(whole) < 2 * 3000


def test_a_jump_that_still_rises_has_no_bound_above() -> None:
    assert sum(jump(30_000.0, 2.0, seed)[1] == math.inf for seed in range(50)) >= 45
