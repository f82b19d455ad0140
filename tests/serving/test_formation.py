"""Batches by deadline and latency table: properties, and what it is worth under overload in simulated time."""

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.serving.batcher import Batcher
from sloctl.serving.cost import Cost
from sloctl.serving.sizes import Sizes


@dataclass(frozen=True, eq=False)
class Item:
    rows: int = 1
    signature: object = None
    priority: int = 0
    deadline: float = 1e9
    name: str = ""


STEEP = Cost({1: 15.0, 8: 80.0})  # 15, 24.3, 33.6, … 80


def filled(items: list[Item], most: int = 8) -> Batcher[Item]:
    batcher: Batcher[Item] = Batcher(3, most)
    for item in items:
        batcher.add(item)
    return batcher


def names(items: list[Item]) -> str:
    return "".join(item.name for item in items)


def many(text: str, **of: object) -> list[Item]:
    return [Item(name=name, **of) for name in text]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("items", "batch", "then", "dropped"),
    [
        pytest.param(many("abcdefgh"), "abcdefgh", "", "", id="loose deadlines: as large as can be"),
        pytest.param(
            many("a", deadline=40.0) + many("bcdefgh"),
            "abc",
            "defgh",
            "",
            id="a request with 40 left is not put into a batch of 80",
        ),
        pytest.param(many("a", deadline=16.0) + many("bcdefgh"), "a", "bcdefgh", "", id="it may be alone in its batch"),
        pytest.param(many("a", deadline=15.0) + many("bc"), "bc", "", "a", id="late even alone: it is dropped"),
        pytest.param(
            many("abcdefgh", deadline=40.0),
            "abc",
            "",
            "defgh",
            id="where all have 40 left, as many as that permits run, and the others are dropped",
        ),
        pytest.param(
            many("a", deadline=16.0) + many("bcdefgh", deadline=81.0),
            "bcdefgh",
            "",
            "a",
            id="where either one or seven must be late, it is one",
        ),
        pytest.param(
            [Item(name="a", rows=2, deadline=20.0), *many("b", deadline=20.0)],
            "b",
            "",
            "a",
            id="rows count: two in one request take longer than one",
        ),
        pytest.param(
            [*many("ab"), Item(name="B", signature="B", deadline=50.0), *many("cdef")],
            "abc",
            "B",
            "",
            id="what came after a request of other shapes does not make that one late",
        ),
        pytest.param(
            [*many("abcd"), Item(name="B", signature="B", deadline=50.0)],
            "abcd",
            "",
            "B",
            id="what came before it does",
        ),
    ],
)
def test_a_batch_is_as_large_as_deadlines_permit(items, batch, then, dropped):
    sizes, batcher = Sizes(STEEP, 8), filled(items)
    first, gone = batcher.take(0.0, 0.0, sizes)
    second, gone_then = batcher.take(sizes.predict(sum(i.rows for i in first)), 0.0, sizes)
    assert (names(first), names(second), names([*gone, *gone_then])) == (batch, then, dropped)


def test_a_busy_device_makes_batches_smaller():
    batcher = filled(many("a", deadline=40.0) + many("bcdefgh"))
    assert names(batcher.take(0.0, 10.0, Sizes(STEEP, 8))[0]) == "ab"


BENT = Cost({1: 10.0, 4: 10.8, 8: 60.0})  # at best 2.7 a row


@pytest.mark.parametrize(
    ("items", "batch", "then"),
    [
        pytest.param(
            many("abcd", priority=2) + many("H"),
            "Habc",
            "d",
            id="lower classes fill what the higher one leaves for free",
        ),
        pytest.param(many("H") + many("abcdef", priority=1), "Habc", "def", id="no further than the table's free ride"),
        pytest.param(
            many("HIJK") + many("a", priority=1), "HIJK", "a", id="none where a row more takes longer than it needs to"
        ),
        pytest.param(
            many("H") + many("a", priority=1) + many("b", priority=2), "Hab", "", id="each class in its order"
        ),
        pytest.param(many("H", deadline=10.5) + many("abc", priority=1), "Ha", "bc", id="a rider makes nobody late"),
        pytest.param(
            [*many("H"), Item(name="B", signature="B", deadline=20.5), *many("ab", priority=1)],
            "Ha",
            "B",
            id="nor one of a higher class with other shapes",
        ),
    ],
)
def test_lower_classes_ride_for_free_or_not_at_all(items, batch, then):
    sizes, batcher = Sizes(BENT, 8), filled(items)
    first, _ = batcher.take(0.0, 0.0, sizes)
    second, _ = batcher.take(sizes.predict(len(first)), 0.0, sizes)
    assert (names(first), names(second)) == (batch, then)


tables = st.lists(st.floats(0.1, 20.0), min_size=1, max_size=5).map(
    lambda steps: Cost({2**at: sum(steps[: at + 1]) for at in range(len(steps))})
)
requests = st.builds(
    Item,
    rows=st.integers(1, 4),
    signature=st.integers(0, 1),
    priority=st.integers(0, 2),
    deadline=st.one_of(st.just(1e9), st.floats(0.0, 120.0)),
)
queues = st.lists(requests, max_size=25)


@given(queues, tables, st.floats(0.0, 20.0), st.integers(4, 16))
def test_what_batches_promise(waiting, cost, busy, most):
    sizes, batcher = Sizes(cost, most), filled(waiting, most)
    batch, dropped = batcher.take(0.0, busy, sizes)

    rows = sum(item.rows for item in batch)
    end = busy + sizes.predict(rows)
    assert rows <= most
    assert all(end < item.deadline for item in batch), "no member is late by the batch's size"
    feasible = [item for item in waiting if busy + sizes.predict(item.rows) < item.deadline]
    assert not set(map(id, dropped)) & set(map(id, feasible)), "only what is late even alone is dropped"
    assert bool(batch) == bool(feasible), "never empty while something can be in time"
    assert len({item.signature for item in batch}) <= 1
    if batch:
        assert batch[0].priority == min(item.priority for item in feasible)
    own = [item for item in batch if item.priority == batch[0].priority]
    if len(own) < len(batch):
        without = sum(item.rows for item in own)
        more = sizes.predict(rows) - sizes.predict(without)
        assert more <= (rows - without) * cost.seconds_per_row + 1e-9, "riders cost no more than they have to"
    assert batcher.length == len(waiting) - len(batch) - len(dropped)


@given(queues, tables, st.integers(4, 16))
def test_nobody_is_overtaken_by_his_own_class_and_shapes_but_by_what_would_make_him_late(waiting, cost, most):
    sizes, batcher = Sizes(cost, most), filled(waiting, most)
    batch, dropped = batcher.take(0.0, 0.0, sizes)
    rows = sum(item.rows for item in batch)
    chosen, gone = set(map(id, batch)), set(map(id, dropped))
    for at, item in enumerate(waiting):
        if id(item) in chosen:
            alike = [e for e in waiting[:at] if (e.priority, e.signature) == (item.priority, item.signature)]
            for earlier in alike:
                if id(earlier) not in chosen | gone:
                    assert earlier.deadline <= sizes.predict(rows + earlier.rows) or rows + earlier.rows > most
    left, then = batcher.clear(), [item for item in waiting if id(item) not in chosen | gone]
    assert left == sorted(then, key=lambda item: item.priority), "what stays keeps its order"


@given(st.integers(1, 40), tables, st.integers(4, 16))
def test_with_loose_deadlines_each_batch_has_what_the_table_says(count, cost, most):
    sizes, batcher = Sizes(cost, most), filled(many("x" * count), most)
    while batcher.length:
        waiting = batcher.length
        assert len(batcher.take(0.0, 0.0, sizes)[0]) == sizes.first_of(min(waiting, most))


def goodput(load: float, within: float, seed: int) -> float:
    """Rows answered in time, as a share of what the device can do, at `load` times that; in simulated time.

    Requests are let in as the gate lets them in. A batch takes 8 ms and a millisecond for each of at most 16 rows.
    """
    random_ = random.Random(seed)
    cost = Cost({rows: 8e-3 + rows * 1e-3 for rows in (1, 2, 4, 8, 16)})
    sizes, batcher = Sizes(cost, 16), filled([], 16)
    arrival, free, good, seconds = 0.0, 0.0, 0, 4.0
    while arrival < seconds:
        arrival += random_.expovariate(load * cost.capacity)
        while batcher.length and free < arrival:
            batch, _ = batcher.take(free, 0.0, sizes)
            free += sizes.predict(len(batch)) if batch else 0.0
            good += sum(item.deadline >= free for item in batch)
        free = max(free, arrival) if not batcher.length else free
        wait = free - arrival + batcher.rows * cost.seconds_per_row + cost.one
        if wait <= within and batcher.length < 512:
            batcher.add(Item(deadline=arrival + within))
    return good / seconds / cost.capacity


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("load", [2.0, 4.0, 10.0])
def test_overload_costs_little_goodput_though_each_request_let_in_has_just_the_time_for_a_batch_of_one(load, seed):
    assert goodput(load, 0.1, seed) > 0.95
