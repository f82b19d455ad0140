from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.serving.batcher import Batcher


@dataclass(frozen=True, eq=False)
class Item:
    rows: int = 1
    signature: object = None
    priority: int = 0
    deadline: float = 100.0
    name: str = ""


def filled(*items: Item, classes: int = 3, max_rows: int = 4) -> Batcher[Item]:
    batcher: Batcher[Item] = Batcher(classes, max_rows)
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
def test_forms_batches(items, batch, then):
    batcher = filled(*items)
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
)


@given(st.lists(items, max_size=30), st.sampled_from([0.0, 1.0]))
def test_every_request_leaves_exactly_once_and_batches_keep_their_promises(given_items, now):
    batcher = filled(*given_items)
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


@given(st.lists(items, max_size=30), st.integers(0, 3), st.booleans())
def test_ahead_of_a_request_are_its_class_and_the_higher_ones(given_items, takes, expire):
    batcher = filled(*given_items)
    gone: list[Item] = []
    for _ in range(takes):
        batch, expired = batcher.take(0.0)
        gone += batch + expired
    if expire:
        gone += batcher.expire(1.0)
    for priority in range(3):
        waiting = [i for i in given_items if i.priority <= priority and i not in gone]
        assert batcher.ahead(priority) == (len(waiting), sum(i.rows for i in waiting))


@given(st.lists(items, max_size=30))
def test_requests_of_one_class_and_shape_keep_their_order(given_items):
    batcher = filled(*given_items)
    left: list[Item] = []
    while batcher.length:
        left += batcher.take(0.0)[0]
    for priority in range(3):
        for signature in range(3):
            chosen = [i for i in given_items if (i.priority, i.signature) == (priority, signature)]
            assert [i for i in left if (i.priority, i.signature) == (priority, signature)] == chosen
