import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.load.schedule import Phase, plan

MIX = {"high": 0.2, "normal": 0.5, "low": 0.3}
PHASES = [Phase("calm", 20, 50), Phase("rise", 20, 200, ramp=10), Phase("down", 10, 0, ramp=10)]

phases = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 50), st.floats(0, 1)), min_size=1, max_size=5).map(
    lambda found: [Phase(str(n), s, r, ramp * s) for n, (s, r, ramp) in enumerate(found)]
)


def counted(schedule, start, end):
    return sum(start <= arrival.at < end for arrival in schedule.arrivals)


@given(phases, st.integers())
def test_the_same_seed_gives_the_same_arrivals(given_phases, seed):
    assert plan(given_phases, MIX, seed) == plan(given_phases, MIX, seed)


def test_another_seed_gives_other_arrivals():
    assert plan(PHASES, MIX, 1).arrivals != plan(PHASES, MIX, 2).arrivals


@given(phases, st.integers(0, 1000))
def test_arrivals_are_in_order_and_lie_in_their_phase(given_phases, seed):
    schedule = plan(given_phases, MIX, seed)
    times = [arrival.at for arrival in schedule.arrivals]
    assert times == sorted(times)
    for arrival in schedule.arrivals:
        start, end = schedule.span(arrival.phase)
        assert start - 1e-9 <= arrival.at <= end + 1e-9


@given(st.floats(0, 60), st.floats(0, 60), st.floats(0, 1), st.integers())
def test_the_number_of_arrivals_is_the_area_under_the_rate(first, second, ramp, seed):
    made = [Phase("a", 10, first), Phase("b", 10, second, ramp=ramp * 10)]
    expected = 10 * first + (10 - ramp * 10) * second + ramp * 10 * (first + second) / 2
    # Poisson: seven standard deviations either way, and some room for small numbers.
    assert abs(len(plan(made, MIX, seed).arrivals) - expected) <= 7 * math.sqrt(expected) + 12


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        pytest.param(0, 20, 1000, id="a steady phase keeps its rate"),
        pytest.param(20, 25, (50 + 125) / 2 * 5, id="the first half of a ramp has the smaller area"),
        pytest.param(25, 30, (125 + 200) / 2 * 5, id="the second half of a ramp has the larger area"),
        pytest.param(30, 40, 2000, id="after the ramp the rate is held"),
        pytest.param(45, 50, 100 / 2 * 5, id="a ramp leads down to nothing"),
    ],
)
def test_rates_follow_the_phases(start, end, expected):
    mean = sum(counted(plan(PHASES, MIX, seed), start, end) for seed in range(20)) / 20
    assert mean == pytest.approx(expected, rel=0.06)


def test_gaps_of_a_steady_phase_are_exponential():
    # The variation coefficient of exponential gaps is 1; evenly spaced ones would have 0.
    times = [arrival.at for arrival in plan([Phase("a", 200, 50)], MIX, 3).arrivals]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation / mean == pytest.approx(1, abs=0.05)


def test_priorities_come_in_the_wanted_shares():
    arrivals = plan([Phase("a", 100, 100)], MIX, 5).arrivals
    for name, share in MIX.items():
        assert sum(a.priority == name for a in arrivals) / len(arrivals) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    ("at", "name"),
    [
        pytest.param(-1, "calm", id="before the start it is the first"),
        pytest.param(19.9, "calm", id="until its end"),
        pytest.param(20, "rise", id="from its start"),
        pytest.param(99, "down", id="after the end it is the last"),
    ],
)
def test_the_phase_at_a_moment(at, name):
    assert plan(PHASES, MIX, 0).phase_at(at).name == name


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Phase("a", -1, 1), id="negative seconds"),
        pytest.param(lambda: Phase("a", 1, math.nan), id="a rate that is no number"),
        pytest.param(lambda: Phase("a", 1, 1, ramp=2), id="a ramp longer than its phase"),
        pytest.param(lambda: plan([], MIX, 0), id="no phase"),
        pytest.param(lambda: plan([Phase("a", 1, 1)] * 2, MIX, 0), id="a name used twice"),
        pytest.param(lambda: plan([Phase("a", 1, 1)], {}, 0), id="no priority"),
        pytest.param(lambda: plan([Phase("a", 1, 1)], {"high": 0}, 0), id="no weight above 0"),
    ],
)
def test_refuses(make):
    with pytest.raises(ValueError, match="want"):
        make()
