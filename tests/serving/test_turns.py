"""Two variants on one device in simulated time: whose batch is handed over when, and what joins it until then."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from simulated import FULL, HANDING_OVER, MODEL, TICK, Batch, Case, seconds

from sloctl.serving.lane import LEAD

HIGH, NORMAL, LOW = range(3)
AS_MODEL, INT8 = -1, 1
WHOLE = seconds(FULL)


@pytest.fixture
def case(tmp_path: Path) -> Callable[..., Case]:
    """The low class is served with int8, the others with fp32; the engines take two batches, but for `concurrency`."""

    def make(concurrency: int = 2, **model: Any) -> Case:
        made = Case(tmp_path, concurrency, model={**MODEL, "clientPrecision": True, **model})
        cell = made.model._control
        cell.write(replace(cell.read(), tiers=(AS_MODEL, AS_MODEL, INT8)))
        made.model.tick()
        return made

    return make


def given(case: Case) -> list[tuple[str, int]]:
    """Variants and rows of all batches, in the order in which the device worked."""
    return [(name, batch.rows) for name, batch in _batches(case)]


def _batches(case: Case) -> list[tuple[str, Batch]]:
    case.world.run()
    names = [variant.name for variant in case.model.variants]
    found = [(name, batch) for name, device in zip(names, case.devices, strict=True) for batch in device.batches]
    return sorted(found, key=lambda each: each[1].start)


def many(case: Case, when: float, count: int = FULL, **request: Any) -> None:
    for _ in range(count):
        case.request(when, **request)


def test_beside_another_variant_on_its_device_a_batch_gathers_until_the_device_is_nearly_free(case):
    """With two batches in hand that is when both are done."""
    two = case()
    many(two, 0.0, 2 * FULL)
    for n in range(4):
        two.request(1e-3 * (n + 1), precision="int8")
    assert given(two) == [("fp32", FULL)] * 2 + [("int8", 4)]
    before, last = two.devices[0].batches[-1], two.devices[1].batches[0]
    assert last.start == before.end, "the device waited for nothing"
    assert last.given >= before.end - LEAD - HANDING_OVER


def test_on_a_device_of_its_own_a_variant_waits_for_nobody(case):
    apart = case()
    apart.model.variants[1].device = "cuda:1"
    many(apart, 0.0, 2 * FULL)
    apart.request(1e-3, precision="int8")
    apart.world.run()
    assert apart.devices[1].batches[0].given == 1e-3


def test_a_variant_that_is_asked_for_has_its_turn_beside_one_that_always_has_a_full_batch(case):
    """Of equals nobody is put off for ever by batches that are handed over as soon as they are full."""
    flooded = case()
    for n in range(20):
        many(flooded, n * WHOLE / 2, priority=NORMAL)
    flooded.request(1e-3, priority=NORMAL, precision="int8")
    assert ("int8", 1) in given(flooded)[:4]


def test_a_full_batch_of_a_lower_class_neither_hurries_nor_overtakes_a_higher_one(case):
    mixed = case()
    many(mixed, 0.0, priority=HIGH)
    mixed.request(1e-3, priority=HIGH)
    many(mixed, 2e-3, priority=LOW)
    mixed.request(3e-3, priority=HIGH)
    assert given(mixed) == [("fp32", FULL), ("fp32", 2), ("int8", FULL)]


def test_a_lower_class_does_not_slip_in_while_the_engine_of_a_higher_one_takes_no_more(case):
    mixed = case()
    many(mixed, 0.0, 2 * FULL, priority=HIGH)
    mixed.request(1e-3, priority=HIGH)
    many(mixed, 2e-3, priority=LOW)
    assert given(mixed) == [("fp32", FULL)] * 2 + [("fp32", 1), ("int8", FULL)]


def test_a_full_batch_has_nothing_to_wait_for_where_nobody_goes_before_it(case):
    full = case()
    many(full, 0.0, priority=NORMAL)
    many(full, 1e-3, priority=LOW)
    full.world.run()
    assert full.devices[1].batches[0].given == 1e-3


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_batch_that_is_due_does_not_end_the_wait_of_its_equals(case, concurrency):
    """Both on an idle device: what is full goes, and the other one still gathers."""
    gathering = case(concurrency, batchWait="5ms")
    gathering.request(0.0, priority=NORMAL)
    many(gathering, 1e-3, priority=NORMAL, precision="int8")
    gathering.request(3e-3, priority=NORMAL)
    assert given(gathering) == [("int8", FULL), ("fp32", 2)]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_higher_class_goes_before_a_lower_one_whose_wait_is_over(case, concurrency):
    gathering = case(concurrency, batchWait="5ms")
    gathering.request(0.0, priority=LOW)
    gathering.request(3e-3, priority=HIGH)
    found = _batches(gathering)
    assert [name for name, _ in found] == ["fp32", "int8"]
    assert found[0][1].given == pytest.approx(5e-3)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_request_that_cannot_wait_so_long_does_not_wait_for_the_timer_of_another_variant(case, concurrency):
    gathering = case(concurrency, batchWait="20ms")
    gathering.request(0.0, priority=LOW)
    gathering.request(1e-3, priority=HIGH, deadline=6e-3)
    gathering.world.run()
    assert {each.outcome for each in gathering.ended} == {"ok"}
    assert max(each.seconds for each in gathering.ended if each.priority == HIGH) <= 6e-3


def test_a_request_waits_for_others_for_no_more_than_half_of_its_time(case):
    alone = case(batchWait="1s")
    alone.request(0.0, deadline=0.2)
    alone.world.run()
    assert alone.devices[0].batches[0].given == pytest.approx((0.2 - seconds(1)) / 2, abs=TICK)
