"""Tenants that share a class under overload, in simulated time: who floods waits and is refused, and nobody else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import FULL, HANDING_OVER, Case, seconds

TIMES = 5  # a device so much slower, for fewer requests
CAPACITY = FULL / (TIMES * seconds(FULL) + HANDING_OVER)  # requests/s
OBJECTIVE = 0.25
MODEL: dict[str, Any] = {"variants": ["fp32", "int8"], "maxBatch": FULL, "breaker": {"enabled": False}}


@pytest.fixture
def case(tmp_path: Path) -> Callable[..., Case]:
    def make(targets: dict[str, float] | None = None, tenants: Any = None, **model: Any) -> Case:
        return Case(tmp_path, 1, MODEL | model, {"fp32": TIMES, "int8": TIMES}, targets, tenants)

    return make


def arrive(busy: Case, tenant: str, rate: float, start: float, end: float, seed: int, rows: int = 1) -> None:
    numbers = np.random.default_rng((seed, *tenant.encode()))
    for when in np.sort(numbers.uniform(start, end, numbers.poisson(rate * (end - start)))):
        busy.request(float(when), rows, tenant=tenant)


def rate(busy: Case, tenant: str, start: float, end: float, *outcomes: str) -> float:
    """Rows of one each that came and ended so, a second."""
    chosen = [each for each in busy.ended if each.tenant == tenant and start <= each.came < end]
    return sum(not outcomes or each.outcome in outcomes for each in chosen) / (end - start)


BOUNDED = [
    pytest.param({"targets": {"m": OBJECTIVE}}, id="by the objective"),
    pytest.param({"maxQueue": 64, "admission": {"limit": "off"}}, id="by the queue"),
    pytest.param({"admission": {"limit": "gradient"}}, id="by the limit"),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("bounded", BOUNDED)
def test_a_tenfold_flood_of_one_does_not_touch_another_and_what_is_left_is_its_own(case, bounded, seed):
    busy = case(**bounded, tenants={})
    arrive(busy, "few", 0.3 * CAPACITY, 0.0, 6.0, seed)
    arrive(busy, "flood", 10 * CAPACITY, 1.0, 5.0, seed)
    busy.last(7.0)
    assert rate(busy, "few", 2.0, 5.0, "ok") >= 0.99 * rate(busy, "few", 2.0, 5.0)
    assert rate(busy, "flood", 2.0, 5.0, "ok") >= 0.65 * CAPACITY
    assert rate(busy, "flood", 2.0, 5.0, "overloaded") > 8 * CAPACITY


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("bounded", BOUNDED)
def test_two_that_both_flood_have_parts_by_their_weights(case, bounded, seed):
    busy = case(**bounded, tenants={"each": {"heavy": {"weight": 3}, "light": {}}})
    arrive(busy, "heavy", 4 * CAPACITY, 0.0, 5.0, seed)
    arrive(busy, "light", 12 * CAPACITY, 0.0, 5.0, seed)
    busy.last(6.0)
    parts = [rate(busy, tenant, 1.0, 5.0, "ok") for tenant in ("heavy", "light")]
    assert parts[0] / parts[1] == pytest.approx(3, rel=0.15)
    assert sum(parts) >= 0.9 * CAPACITY


@pytest.mark.parametrize("bounded", BOUNDED)
def test_large_requests_are_no_larger_part(case, bounded):
    busy = case(**bounded, tenants={})
    arrive(busy, "large", CAPACITY, 0.0, 5.0, 0, rows=8)
    arrive(busy, "small", 8 * CAPACITY, 0.0, 5.0, 0)
    busy.last(6.0)
    parts = [8 * rate(busy, "large", 1.0, 5.0, "ok"), rate(busy, "small", 1.0, 5.0, "ok")]
    assert parts[0] == pytest.approx(parts[1], rel=0.15)


def test_without_tenants_a_flood_shuts_everybody_out(case):
    busy = case(targets={"m": OBJECTIVE})
    arrive(busy, "few", 0.3 * CAPACITY, 0.0, 6.0, 0)
    arrive(busy, "flood", 10 * CAPACITY, 1.0, 5.0, 0)
    busy.last(7.0)
    assert rate(busy, "few", 2.0, 5.0, "ok") < 0.3 * rate(busy, "few", 2.0, 5.0)
