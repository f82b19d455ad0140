from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.tenants import Tenant
from sloctl.config.tenants import Limits
from sloctl.serving.batcher import Batcher

A, B = (Tenant(name, name, Limits(inf, 1, 1.0)) for name in "ab")


@dataclass(frozen=True, eq=False)
class Item:
    rows: int = 1
    signature: object = None
    priority: int = 0
    deadline: float = 100.0
    name: str = ""
    tenant: Tenant = A


def filled(*items: Item, classes: int = 3, max_rows: int = 4, fair: bool = False) -> Batcher[Item]:
    batcher: Batcher[Item] = Batcher(classes, max_rows, fair=fair)
    for item in items:
        batcher.add(item)
    return batcher


def names(items: list[Item]) -> str:
    return "".join(item.name for item in items)


@pytest.mark.parametrize(
    ("items", "batch", "then"),
    [
        pytest.param([Item(name="a"), Item(name="b")], "ab", "", id="what came together runs together"),
        pytest.param(
            [Item(name="a", priority=2), Item(name="b", priority=0)], "ba", "", id="the higher class goes first"
        ),
        pytest.param([Item(name=c) for c in "abcdef"], "abcd", "ef", id="a batch holds no more than its rows"),
        pytest.param(
            [Item(name="a", rows=3), Item(name="b", rows=2), Item(name="c")],
            "a",
            "bc",
            id="what does not fit ends the batch and is not overtaken",
        ),
        pytest.param(
            [Item(name="a", rows=9), Item(name="b")], "a", "b", id="what became too large while it waited goes alone"
        ),
        pytest.param(
            [Item(name="a", signature=1), Item(name="b", signature=2), Item(name="c", signature=1)],
            "ac",
            "b",
            id="other shapes wait for a batch of their own",
        ),
        pytest.param(
            [Item(name="a", rows=3, priority=0), Item(name="b", rows=2, priority=1), Item(name="c", priority=2)],
            "a",
            "bc",
            id="a lower class does not overtake a higher one that did not fit",
        ),
    ],
)
@pytest.mark.parametrize("fair", [pytest.param(False, id="alone"), pytest.param(True, id="the only tenant")])
def test_forms_batches(items, batch, then, fair):
    batcher = filled(*items, fair=fair)
    assert names(batcher.take(0.0)[0]) == batch
    assert names(batcher.take(0.0)[0]) == then


def test_expired_requests_never_reach_a_batch():
    batcher = filled(Item(name="old", deadline=1.0), Item(name="new"))
    batch, expired = batcher.take(1.0)
    assert (names(batch), names(expired)) == ("new", "old")
    assert (batcher.length, batcher.rows) == (0, 0)


def test_expire_takes_out_only_what_has_expired():
    batcher = filled(Item(name="a", deadline=1.0, rows=2), Item(name="b"), Item(name="c", deadline=1.0, priority=2))
    assert names(batcher.expire(1.0)) == "ac"
    assert (batcher.length, batcher.rows) == (1, 1)


items = st.builds(
    Item,
    rows=st.integers(1, 4),
    signature=st.integers(0, 2),
    priority=st.integers(0, 2),
    deadline=st.sampled_from([1.0, 100.0]),
    tenant=st.sampled_from([A, B]),
)


@given(st.lists(items, max_size=30), st.sampled_from([0.0, 1.0]), st.booleans())
def test_every_request_leaves_exactly_once_and_batches_keep_their_promises(given_items, now, fair):
    batcher = filled(*given_items, fair=fair)
    left: list[Item] = []
    while batcher.length:
        batch, expired = batcher.take(now)
        assert batch or expired
        assert sum(item.rows for item in batch) <= 4
        assert len({item.signature for item in batch}) <= 1
        assert all(item.deadline > now for item in batch)
        assert all(item.deadline <= now for item in expired)
        priorities = [item.priority for item in batch]
        assert priorities == sorted(priorities)
        left += batch + expired
        assert batcher.rows == sum(item.rows for item in given_items) - sum(item.rows for item in left)
    assert sorted(map(id, left)) == sorted(map(id, given_items))


@given(st.lists(items, max_size=30), st.integers(0, 3), st.booleans(), st.booleans())
def test_ahead_of_a_request_are_its_class_and_the_higher_ones(given_items, takes, expire, fair):
    batcher = filled(*given_items, fair=fair)
    gone: list[Item] = []
    for _ in range(takes):
        batch, expired = batcher.take(0.0)
        gone += batch + expired
    if expire:
        gone += batcher.expire(1.0)
    for priority in range(3):
        waiting = [i for i in given_items if i.priority <= priority and i not in gone]
        assert batcher.ahead(priority) == sum(i.rows for i in waiting)


@given(st.lists(items, max_size=30), st.booleans())
def test_requests_of_one_class_shape_and_tenant_keep_their_order(given_items, fair):
    given_items = [i for i in given_items if not fair or i.tenant is A]
    batcher = filled(*given_items, fair=fair)
    left: list[Item] = []
    while batcher.length:
        left += batcher.take(0.0)[0]
    for priority in range(3):
        for signature in range(3):
            chosen = [i for i in given_items if (i.priority, i.signature) == (priority, signature)]
            assert [i for i in left if (i.priority, i.signature) == (priority, signature)] == chosen


def test_tenants_of_a_class_take_turns_in_rows_and_classes_stay_above_them():
    flood = [Item(name="f", rows=2) for _ in range(20)]
    batcher = filled(*flood, Item(name="x", tenant=B), Item(name="y", tenant=B), fair=True, max_rows=8)
    batcher.add(Item(name="h", priority=0, rows=2))
    low = filled(*[Item(name="l", priority=1)] * 9, Item(name="m", priority=1, tenant=B), fair=True, max_rows=8)
    low.add(Item(name="h", rows=7))
    assert sorted(names(batcher.take(0.0)[0])) == sorted("xyfff")
    assert names(low.take(0.0)[0])[0] == "h"


def test_a_flood_of_a_tenant_is_ahead_of_another_only_by_its_turns():
    batcher = filled(*[Item(rows=4) for _ in range(100)], *[Item(priority=1, rows=4) for _ in range(100)], fair=True)
    assert batcher.ahead(0, A) == 400
    assert batcher.ahead(0, B) == 1
    assert batcher.ahead(1, B) == 401


@pytest.mark.parametrize("expired", [0, 5])
def test_what_expired_is_not_taken_for_served(expired):
    late = [Item(name="e", deadline=1.0, rows=4) for _ in range(expired)]
    batcher = filled(*late, *[Item(name="a", rows=4)] * 4, *[Item(name="b", rows=4, tenant=B)] * 4, fair=True)
    order = [names(batcher.take(1.0)[0]) for _ in range(8)]
    assert {order[0], order[1]} == {order[2], order[3]} == {"a", "b"}


def test_a_request_that_does_not_fit_is_not_overtaken_for_ever_by_another_tenants():
    batcher = filled(Item(name="big", rows=4, tenant=B), fair=True)
    order = []
    for _ in range(12):
        batcher.add(Item(name="small"))
        order.append(names(batcher.take(0.0)[0]))
        if order[-1] == "big":
            return
    raise AssertionError(order)


@pytest.mark.parametrize(
    ("waiting", "priority", "tenant", "gives_up"),
    [
        pytest.param([Item(name="a"), Item(name="l", priority=2)], 0, B, "l", id="the lowest class first"),
        pytest.param([Item(name=c) for c in "abc"], 0, B, "c", id="then the tenant with more waiting"),
        pytest.param([Item(name=c) for c in "abc"], 0, A, None, id="but not for itself"),
        pytest.param([Item(name="a"), Item(name="b", tenant=B)], 0, B, None, id="nor among equals"),
        pytest.param([Item(name=c) for c in "abc"], 1, B, None, id="and never of a higher class"),
    ],
)
def test_a_place_is_taken_from_a_lower_class_or_of_who_has_more_waiting(waiting, priority, tenant, gives_up):
    batcher = filled(*waiting, fair=True)
    assert batcher.yields(priority, tenant) is (gives_up is not None)
    if gives_up is not None:
        assert batcher.evict(priority).name == gives_up
        assert batcher.length == len(waiting) - 1


@given(st.integers(1, 40), st.integers(1, 40))
def test_pushing_out_ends_at_equal_parts_of_a_full_queue(room, asked):
    batcher = filled(*[Item(tenant=A)] * room, fair=True)
    entered = 0
    for _ in range(asked):
        if batcher.yields(0, B):
            batcher.evict(0)
            batcher.add(Item(tenant=B))
            entered += 1
    assert batcher.length == room
    assert entered == min(asked, room // 2)
