"""Two variants on one device under overload, in simulated time: who is refused, and who is not touched."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated import FULL, HANDING_OVER, TICK, Case, Ended, seconds

from sloctl.serving.lane import LEAD

TIMES, FASTER = 5, 4  # the device's slowness, and how much faster int8 is
CAPACITY = {"fp32": FULL / (TIMES * seconds(FULL) + HANDING_OVER)}  # requests/s
CAPACITY["int8"] = FULL / (TIMES / FASTER * seconds(FULL) + HANDING_OVER)
OBJECTIVE = 0.25
HIGH, NORMAL, LOW = range(3)
FP32, INT8, AS_MODEL = 0, 1, -1
SEEDS = range(3)


@pytest.fixture(params=[1, 2])
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Case]:
    """With one batch in hand at a time, and with two."""

    def make(variant: int, *tiers: int, **more: Any) -> Case:
        model: dict[str, Any] = {"variants": ["fp32", "int8"], "maxBatch": FULL, "breaker": {"enabled": False}}
        model |= {"clientPrecision": True, **more}
        scale = {"fp32": TIMES, "int8": TIMES / FASTER}
        made = Case(tmp_path, request.param, model=model, scale=scale, targets={"m": OBJECTIVE})
        cell = made.model._control
        cell.write(replace(cell.read(), variant=variant, tiers=tiers or (AS_MODEL,) * 3))
        made.model.tick()
        return made

    return make


def arrive(case: Case, rate: float, end: float, seed: int, **request: Any) -> None:
    numbers = np.random.default_rng((seed, *map(ord, str(sorted(request.items())))))
    for when in np.sort(numbers.uniform(0.0, end, numbers.poisson(rate * end))):
        case.request(float(when), **request)


def worth(case: Case, variant: str) -> float:
    """Share of the device that a load of CAPACITY takes: with a batch in hand, handing over costs it nothing."""
    free = 0.0 if case.devices[0].engine.concurrency == 1 else HANDING_OVER
    return 1.0 - free * CAPACITY[variant] / FULL


def share(ended: Iterable[Ended], **of: Any) -> float:
    """Share of the requests from the second second on that were answered within the objective."""
    chosen = [e for e in ended if e.came >= 1.0 and all(getattr(e, name) == value for name, value in of.items())]
    return sum(e.outcome == "ok" and e.seconds <= OBJECTIVE for e in chosen) / len(chosen)


@pytest.mark.parametrize("seed", SEEDS)
def test_who_insists_on_the_slow_variant_gets_what_the_others_leave(case, seed):
    """int8 would carry what asks for nothing; the others want as much as a device on fp32 has, besides."""
    degraded = case(INT8)
    arrive(degraded, 0.7 * CAPACITY["int8"], 6.0, seed, priority=NORMAL)
    arrive(degraded, CAPACITY["fp32"], 6.0, seed, priority=NORMAL, precision="fp32")
    degraded.last(7.0)
    insists, follows = share(degraded.ended, precision="fp32"), share(degraded.ended, precision="")
    assert follows >= 0.99
    used = 0.7 * worth(degraded, "int8") + insists * worth(degraded, "fp32")
    assert used == pytest.approx(1.0, abs=0.05), "what is left of the device, and all of it"
    assert {each.outcome for each in degraded.ended} <= {"ok", "overloaded"}


@pytest.mark.parametrize("seed", SEEDS)
def test_while_there_is_room_whoever_names_a_variant_is_served(case, seed):
    calm = case(INT8)
    arrive(calm, 0.3 * CAPACITY["int8"], 6.0, seed, priority=NORMAL)
    arrive(calm, 0.2 * CAPACITY["fp32"], 6.0, seed, priority=NORMAL, precision="fp32")
    calm.last(7.0)
    assert share(calm.ended) >= 0.99


def test_a_learned_limit_counts_what_is_in_flight_on_its_variant(case):
    """More wait for int8 than fp32 could ever have in flight: that is no reason to refuse one more for fp32."""
    burst = case(INT8)
    for _ in range(4 * FULL):
        burst.request(0.0, priority=NORMAL)
    burst.request(1e-4, priority=NORMAL, precision="fp32")
    burst.last(1.0)
    assert {each.outcome for each in burst.ended} == {"ok"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_flood_of_low_requests_on_int8_does_not_touch_high_ones_on_fp32(case, seed):
    tiered = case(FP32, AS_MODEL, AS_MODEL, INT8)
    arrive(tiered, 0.3 * CAPACITY["fp32"], 6.0, seed, priority=HIGH)
    arrive(tiered, 5 * CAPACITY["int8"], 6.0, seed, priority=LOW)
    tiered.last(7.0)
    assert share(tiered.ended, priority=HIGH) >= 0.99
    assert {device.batches != [] for device in tiered.devices} == {True}, "both variants ran"


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_asked_for_beside_a_busy_variant_runs_in_batches_as_large_as_if_it_served(case, seed):
    """A batch of a few rows takes the device nearly as long as one of many."""
    busy = case(INT8)
    arrive(busy, 0.6 * CAPACITY["int8"], 6.0, seed, priority=NORMAL)
    arrive(busy, 0.3 * CAPACITY["fp32"], 6.0, seed, priority=NORMAL, precision="fp32")
    busy.last(7.0)
    assert share(busy.ended) >= 0.99
    batches = {name: device.batches for name, device in zip(("fp32", "int8"), busy.devices, strict=True)}
    ends = [batch.end for each in batches.values() for batch in each]
    small = [b for b in batches["fp32"] if any(b.given + LEAD + TICK < end < b.start + 1e-9 for end in ends)]
    assert [batch for batch in small if batch.rows < FULL] == [], "the device was not free yet"


@pytest.mark.parametrize("limit", ["gradient", "aimd", "off"])
@pytest.mark.parametrize("waiting", [8 * FULL, 14 * FULL])
def test_a_switch_to_a_slower_variant_is_no_mistake_of_its_predictions(case, waiting, limit):
    """As many are let in afterwards as if it had always served, though what waited took longer than it was told."""

    def answered(variant: int, before: int) -> int:
        made = case(variant, admission={"limit": limit})
        for _ in range(before):
            made.request(0.0, priority=NORMAL)
        made.last(0.1 * OBJECTIVE)
        cell = made.model._control
        cell.write(replace(cell.read(), variant=FP32))
        for _ in range(16 * FULL):
            made.request(1.0, priority=NORMAL)
        made.last(2.0)
        return sum(each.outcome == "ok" for each in made.ended if each.came == 1.0)

    assert answered(INT8, waiting) >= 0.95 * answered(FP32, 0)
