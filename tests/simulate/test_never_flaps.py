"""Never flap, on many seeds: the planner and threshold rules, with shedding, over courses that break controllers."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sloctl.policy.document import PolicyDocument
from sloctl.simulate.load import Course, Scale, Shape, synthetic
from sloctl.simulate.run import Result, simulate

FP32, INT8 = 500.0, 1000.0  # capacities of the fixture's variants
COOLDOWN = 300.0
PLANNER = {"planner": {"objective": "digits-latency"}}
RULES = [
    {
        "name": "down",
        "when": 'offered_rows > 0.85 * capacity("fp32")',
        "until": 'offered_rows < 0.7 * capacity("fp32")',
        "for": "2s",
        "action": {"precision": "down"},
    },
    {"name": "up", "when": 'offered_rows < 0.7 * capacity("fp32")', "for": "30s", "action": {"precision": "up"}},
]
SHED = {
    "name": "shed",
    "when": 'variant == "int8" && offered_rows > 0.95 * capacity',
    "until": "offered_rows < 0.85 * capacity",
    "action": {"shed": {"admitRate": "0.9 * capacity / request_rows"}},
}
POLICIES = {"planner": PLANNER | {"rules": [SHED]}, "rules": {"rules": [*RULES, SHED]}}
DOWN, UP = 0.85 * FP32, 0.7 * FP32  # the levels that both act at
SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 23))]
each_seed = pytest.mark.parametrize("seed", SEEDS)
SCALE = Scale.of([FP32, INT8], margin=0.15, cooldown=COOLDOWN)


@pytest.fixture(params=POLICIES)
def steered(setup, request):
    """The digits example, steered by either."""
    spec = setup.policy.spec.model_dump(by_alias=True) | {"planner": None} | POLICIES[request.param]
    policy = PolicyDocument.model_validate(setup.policy.model_dump(by_alias=True) | {"spec": spec})
    return replace(setup, policy=policy)


def course(rates: np.ndarray, seed: int, noise: float = 0.0, ticks: int = 1) -> Course:
    """A row of rates in requests/s, one a second, in so many ticks with normal noise on each, in three classes."""
    numbers, rates = np.random.default_rng(seed), np.repeat(rates, ticks)
    noisy = np.maximum(rates * (1 + noise * numbers.standard_normal(len(rates))), 0.0)
    arrivals = numbers.poisson(noisy[:, None] / 3 / ticks, (len(rates), 3))
    return Course(1.0 / ticks, 0.0, arrivals.astype(np.float64))


def moves(result: Result) -> list[tuple[float, str]]:
    found = [(each.at, each.action) for each in result.decisions if each.action.startswith("precision:")]
    for (first, _), (second, action) in pairwise(found):
        assert action == "precision:down" or second - first >= COOLDOWN
    return found


@each_seed
@pytest.mark.parametrize("ticks", [1, 4], ids=["a tick a second", "the daemon's tick"])
def test_noise_at_95_percent_of_the_level_down_switches_at_most_twice_an_hour(steered, seed, ticks) -> None:
    assert len(moves(simulate(steered, course(np.full(3600, 0.95 * DOWN), seed, 0.05, ticks)))) <= 2


@each_seed
def test_noise_at_95_percent_of_the_level_up_switches_at_most_twice_an_hour(steered, seed) -> None:
    """From above: one down for the load before, and one up at most."""
    rates = np.concatenate([np.full(600, 1.6 * DOWN), np.full(3000, 0.95 * UP)])
    assert len(moves(simulate(steered, course(rates, seed, 0.05)))) <= 2


@each_seed
@pytest.mark.parametrize("high", [1.1 * DOWN, 1.6 * FP32], ids=["just over", "far over"])
def test_a_clean_step_gives_exactly_one_switch(steered, seed, high) -> None:
    rates = np.concatenate([np.full(600, 0.5 * DOWN), np.full(1200, high)])
    ((at, action),) = moves(simulate(steered, course(rates, seed, ticks=4)))
    assert action == "precision:down"
    assert 0 <= at - 600 <= 10


@each_seed
@pytest.mark.parametrize(
    "period", [COOLDOWN, *(pytest.param(times * COOLDOWN, marks=pytest.mark.slow) for times in (0.5, 2.0))]
)
def test_a_square_wave_brings_nothing_back_inside_the_cooldown(steered, seed, period) -> None:
    times = np.arange(7200.0)
    found = moves(simulate(steered, course(np.where(times % period < period / 2, 0.5 * DOWN, 1.6 * DOWN), seed, 0.05)))
    assert len(found) <= 2 * steered.policy.spec.max_switches_per_hour
    assert found


@each_seed
def test_shedding_hides_no_load(steered, seed) -> None:
    """Twice what the fastest carries, most of it shed, so that fp32 could carry what is served of the higher classes:
    back to fp32 only once it carries what is offered.
    """
    crowd = synthetic(Shape.FLASH_CROWD, SCALE, 3, 3600.0, 1.0, seed)
    result = simulate(steered, crowd)
    assert result.outcomes["shed"] > 0.01 * result.offered
    ((_, first), (back, second)) = moves(result)
    assert (first, second) == ("precision:down", "precision:up")
    offered = crowd.arrivals.sum(axis=1)
    assert offered[int(back) - 30 : int(back)].mean() <= 1.05 * UP  # it falls meanwhile, and arrivals are Poisson
