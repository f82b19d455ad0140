from collections import defaultdict, deque
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.fair_queue import FairQueue, Fifo


@dataclass(frozen=True)
class Tenant:
    name: str
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Item:
    tenant: Tenant
    rows: int = 1
    number: int = field(default=0)


A, B, C = (Tenant(name) for name in "abc")


def queue(*items):
    made = FairQueue()
    for item in items:
        made.append(item)
    return made


def drained(fair):
    return [fair.popleft() for _ in range(len(fair))]


def names(items):
    return "".join(item.tenant.name for item in items)


tenants = st.sampled_from([Tenant("a"), Tenant("b"), Tenant("c", 2.0), Tenant("d", 0.5)])
items = st.lists(st.builds(Item, tenants, st.integers(1, 8)), max_size=40)


def test_tenants_take_turns():
    assert names(drained(queue(*[Item(A)] * 4, *[Item(B)] * 2, Item(C)))) == "abcabaa"


def test_turns_are_of_rows_and_not_of_requests():
    assert names(drained(queue(*[Item(A, 4)] * 3, *[Item(B, 1)] * 9))) == "bbbabbbbabba"


def test_a_weight_is_a_part():
    heavy = Tenant("a", 3.0)
    assert names(drained(queue(*[Item(heavy)] * 6, *[Item(B)] * 4))).startswith("aaabaaab")


@given(items)
def test_the_order_inside_a_tenant_is_that_of_arrival_and_nothing_is_lost(given_items):
    out = drained(queue(*given_items))
    for name in "abcd":
        assert [i for i in out if i.tenant.name == name] == [i for i in given_items if i.tenant.name == name]


@given(st.lists(st.integers(1, 8), min_size=30, max_size=30), st.lists(st.integers(1, 8), min_size=30, max_size=30))
def test_what_two_that_wait_were_served_differs_by_at_most_one_largest_request(ours, theirs):
    mixed = queue(*(Item(A, rows) for rows in ours), *(Item(B, rows) for rows in theirs))
    served = {"a": 0, "b": 0}
    for item in drained(mixed):
        served[item.tenant.name] += item.rows
        if served["a"] == sum(ours) or served["b"] == sum(theirs):
            return  # one waits no more
        assert abs(served["a"] - served["b"]) <= max(*ours, *theirs)


@given(st.lists(st.tuples(tenants, st.integers(1, 8)), min_size=1, max_size=60))
def test_by_weight_too_and_whatever_came_before(served_before):
    weighed = [Tenant("a"), Tenant("c", 2.0), Tenant("d", 0.5)]
    fair = queue(*(Item(tenant, rows) for tenant, rows in served_before))
    drained(fair)
    for tenant in weighed:
        for _ in range(40):
            fair.append(Item(tenant, 4))
    got = defaultdict(Fraction)
    for _ in range(30):
        item = fair.popleft()
        got[item.tenant.name] += Fraction(item.rows) / Fraction(item.tenant.weight)
        shares = [got[tenant.name] for tenant in weighed]
        assert max(shares) - min(shares) <= Fraction(4) / Fraction(1, 2)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 8), st.integers(1, 8))
def test_a_flood_delays_anothers_first_request_by_no_more_than_a_round(before, waiting, rows, own):
    fair = queue(*[Item(A, rows)] * (before + waiting))
    for _ in range(before):
        fair.popleft()
    fair.append(first := Item(B, own))
    ahead = 0
    while (item := fair.popleft()) is not first:
        ahead += item.rows
    assert ahead <= rows + own


def test_newcomers_without_end_do_not_starve_those_that_wait():
    fair = queue(Item(A), Item(A), Item(A))
    order = []
    for number in range(6):
        fair.append(Item(Tenant(f"n{number}")))
        order.append(fair.popleft().tenant.name)
    assert order.count("a") == 3


def test_waiting_saves_nothing_up():
    fair = queue(*[Item(A)] * 50)
    for _ in range(20):
        fair.popleft()
    for _ in range(20):
        fair.append(Item(B))
    assert names(fair.popleft() for _ in range(10)).count("a") >= 4


actions = st.lists(
    st.one_of(
        st.tuples(st.just("add"), tenants, st.integers(1, 8)),
        st.tuples(st.just("take"), st.integers(1, 12), st.integers(0, 5)),
        st.tuples(st.just("evict"), st.none(), st.none()),
        st.tuples(st.just("discard"), st.integers(1, 5), st.none()),
    ),
    max_size=60,
)


@given(actions)
def test_what_is_put_back_is_as_if_it_had_never_been_taken(steps):
    """Two queues: one takes and puts back besides, and gives the same order."""
    plain, other, waiting = FairQueue(), FairQueue(), []
    for what, first, second in steps:
        if what == "add":
            waiting.append(item := Item(first, second))
            plain.append(item)
            other.append(item)
        elif what == "take":
            out = [other.popleft() for _ in range(min(first, len(other)))]
            other.extendleft(reversed(out))
            out = [plain.popleft() for _ in range(min(second, len(plain)))]
            assert [other.popleft() for _ in out] == out
            waiting = [item for item in waiting if item not in out]
        elif what == "evict" and waiting:
            gone = plain.evict()
            assert gone is other.evict()
            waiting.remove(gone)
        elif what == "discard":
            gone, waiting = waiting[::first], [i for n, i in enumerate(waiting) if n % first]
            plain.discard(set(map(id, gone)))
            other.discard(set(map(id, gone)))
        assert len(plain) == len(other) == len(waiting)
        assert sorted(map(id, other)) == sorted(map(id, waiting))
    assert drained(plain) == drained(other)


def test_what_is_refunded_has_not_been_served():
    fair = queue(*[Item(A, 4)] * 3, *[Item(B, 4)] * 2)
    fair.refund(fair.popleft())  # A's, which has still its turn
    assert names(drained(fair)) == "abab"


@given(items.filter(bool))
def test_who_waits_with_most_gives_up_its_newest(given_items):
    fair = queue(*given_items)
    rows = defaultdict(float)
    for item in given_items:
        rows[item.tenant.name] += item.rows / item.tenant.weight
    gone = fair.evict()
    assert rows[gone.tenant.name] == max(rows.values())
    assert gone is [item for item in given_items if item.tenant.name == gone.tenant.name][-1]
    assert len(fair) == len(given_items) - 1


@given(items)
def test_nothing_is_kept_of_those_that_do_not_wait(given_items):
    fair = queue(*given_items)
    drained(fair)
    fair.append(Item(A))
    assert fair.ahead(B) == 1  # of one other tenant one row
    fair.popleft()
    fair.append(Item(C))
    assert fair.ahead(C) == 1


@pytest.mark.parametrize(
    ("waiting", "tenant", "rows"),
    [
        pytest.param([Item(A, 500)], B, 1, id="a newcomer waits for a round"),
        pytest.param([Item(A, 3)], A, 3, id="one alone for what it has there"),
        pytest.param([Item(A, 500), Item(B, 4)], B, 9, id="one with five rows for as many of the other"),
        pytest.param([Item(A, 500)], Tenant("b", 4.0), 0.25, id="a heavier one for less"),
    ],
)
def test_tells_the_rows_that_go_before_one_more(waiting, tenant, rows):
    assert queue(*waiting).ahead(tenant) == rows


@given(st.lists(st.integers(), max_size=20), st.data())
def test_without_tenants_it_is_a_deque(numbers, data):
    plain = Fifo(numbers)
    gone = data.draw(st.sets(st.sampled_from(numbers))) if numbers else set()
    ids = {id(number) for number in numbers if number in gone}
    plain.discard(ids)
    assert plain == deque(number for number in numbers if id(number) not in ids)
    if plain:
        assert plain[-1] == plain.evict()
