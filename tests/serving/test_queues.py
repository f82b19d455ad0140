"""Lines of requests by variant: turns, what goes before a new request, moves."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.tenants import NOBODY, Tenant
from sloctl.admission.tiers import Unmet
from sloctl.config.tenants import Limits
from sloctl.serving.cost import Cost
from sloctl.serving.queues import Queues


@dataclass(eq=False)
class Variant:
    name: str
    seconds: float
    device: str = ""
    cost: Cost = field(init=False)

    def __post_init__(self):
        self.cost = Cost({1: self.seconds})


@dataclass(eq=False)
class Request:
    priority: int = 0
    rows: int = 1
    enqueued: float = 0.0
    deadline: float = 1e9
    signature: Any = None
    tenant: Any = NOBODY


@pytest.fixture
def slow():
    return Variant("fp32", 0.010)


@pytest.fixture
def fast():
    return Variant("int8", 0.001)


def queues(*waiting, classes=3):
    made = Queues(classes, 8)
    for variant, request in waiting:
        made.line(variant).add(request)
    return made


def turn(it, route, *gathering):
    """The line whose turn it is of all that have something, where the class's variant is `route`."""
    return it.turn([line for line in it if line.length], lambda _: route, lambda line: line.variant in gathering)


def test_the_highest_class_goes_first_and_equals_take_turns(slow, fast):
    it = queues(*[(slow, Request(1)) for _ in range(20)], *[(fast, Request(1)) for _ in range(20)])
    turns = []
    for _ in range(4):
        line = turn(it, slow)
        line.take(0.0)
        turns.append(line.variant.name)
    assert turns == ["fp32", "int8"] * 2
    it.line(fast).add(Request(0))
    turn(it, slow)
    assert turn(it, slow).variant is fast, "whosever turn it was"


def test_a_reserved_share_holds_across_the_lines(slow, fast):
    it = Queues(2, 8, reserved=[0.0, 0.25])
    for _ in range(400):
        it.line(slow).add(Request(0))
        it.line(fast).add(Request(1))
    rows = {slow: 0, fast: 0}
    for _ in range(40):
        line = turn(it, slow)
        rows[line.variant] += len(line.take(0.0)[0])
    assert rows[fast] / 320 == pytest.approx(0.25, abs=8 / 320)


def test_who_wants_no_more_rows_goes_before_equals_that_gather_but_not_before_a_higher_class(slow, fast):
    it = queues((slow, Request(1)), (fast, Request(1)))
    assert turn(it, slow, slow).variant is fast
    assert turn(it, slow, slow).variant is fast, "whosever turn it was"
    it.line(slow).add(Request(0))
    assert turn(it, slow, slow).variant is slow


def test_lines_are_told_apart_by_device_and_the_empty_ones_are_none(slow, fast):
    other, idle = Variant("int4", 0.001, "cuda:1"), Variant("fp16", 0.001)
    it = queues((slow, Request()), (other, Request()), (fast, Request()))
    it.line(idle)
    assert [[line.variant for line in lines] for lines in it.by_device()] == [[slow, fast], [other]]


def test_what_goes_before_a_request_is_never_less_than_if_all_ran_on_its_variant(slow, fast):
    it = queues(*[(fast, Request(1)) for _ in range(10)])
    assert it.work(1, fast, NOBODY, fast) == pytest.approx(0.010)
    assert it.work(1, slow, NOBODY, fast) == pytest.approx(0.100), "the first to be refused"
    assert it.work(0, slow, NOBODY, fast) == 0.0, "lower classes run later"
    it.line(slow).add(Request(1))
    assert it.work(1, fast, NOBODY, slow) == pytest.approx(0.020), "what others need of the device counts"
    for _ in range(99):
        it.line(slow).add(Request(1))
    assert it.work(1, fast, NOBODY, fast) == pytest.approx(0.090), "of who insists on a slower one no more than a batch"
    assert it.work(2, fast, NOBODY, fast) == pytest.approx(1.010), "but all of a higher class"


def test_in_a_class_who_insists_on_a_slower_variant_goes_after_those_who_do_not(slow, fast):
    it = queues(*[(slow, Request(1)) for _ in range(9)], *[(fast, Request(1)) for _ in range(17)], (slow, Request(0)))
    first = turn(it, fast)
    assert first.variant is slow, "the highest class, whatever it insists on"
    first.take(0.0)
    turns = []
    for _ in range(4):
        line = turn(it, fast)
        line.take(0.0)
        turns.append(line.variant.name)
    assert turns == ["int8", "int8", "fp32", "int8"], "its turn comes once no more than a batch waits for the others"


def test_a_variant_on_a_device_of_its_own_waits_for_nobody_elses(slow, fast):
    fast.device = "cuda:1"
    it = queues(*[(slow, Request(1)) for _ in range(10)])
    assert it.work(1, fast, NOBODY, fast) == 0.0


def test_in_a_full_queue_the_lowest_class_goes_first_whatever_it_waits_for(slow, fast):
    low, normal = Request(2), Request(1)
    it = queues((slow, normal), (fast, low))
    assert it.yields(0, NOBODY)
    assert not it.yields(2, NOBODY)
    assert [it.evict(0, NOBODY), it.evict(0, NOBODY), it.evict(0, NOBODY)] == [low, normal, None]
    assert it.length == 0


def test_a_reserved_share_of_the_queue_is_of_all_lines(slow, fast):
    """Low requests have a line of their own, but no more than their share of what waits."""
    it = Queues(3, 8, reserved=[0.0, 0.0, 0.2])
    for _ in range(8):
        it.line(slow).add(Request(0))
    for _ in range(3):
        it.line(fast).add(Request(2))
    assert it.evict(0, NOBODY).priority == 2, "one more than their share"
    assert not it.yields(0, NOBODY)
    assert it.evict(0, NOBODY) is None
    it.line(slow).add(Request(0))
    it.line(slow).add(Request(0))
    it.line(slow).add(Request(0))
    assert it.evict(2, NOBODY).priority == 0, "less than their share, so the others give way"


def test_who_gives_way_is_looked_for_in_a_line_where_somebody_has_more(slow, fast):
    """In the longer line only the tenant that asks has many."""
    mine, other = (Tenant(name, name, Limits(math.inf, 1, 1.0)) for name in ("mine", "other"))
    it = Queues(1, 8, fair=True)
    for _ in range(9):
        it.line(slow).add(Request(tenant=mine))
    for _ in range(5):
        it.line(fast).add(Request(tenant=other))
    assert it.yields(0, mine)
    assert it.evict(0, mine).tenant is other


def test_a_move_puts_each_where_it_belongs_and_returns_who_has_no_place(slow, fast):
    stays, goes, lost = Request(0), Request(1), Request(2)
    it = queues((slow, stays), (slow, goes), (slow, lost))
    why = Unmet("gone", final=False)
    found = it.move(lambda request: {stays: slow, goes: fast, lost: why}[request])
    assert found == [(lost, why)]
    assert list(it.line(slow)) == [stays]
    assert list(it.line(fast)) == [goes]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_no_request_is_lost_or_doubled_by_a_move_and_the_order_of_a_class_stays(plan):
    variants = [Variant(str(index), 0.001) for index in range(3)]
    requests = [Request(priority, enqueued=float(at)) for at, (priority, _, _) in enumerate(plan)]
    it = queues(*[(variants[start], request) for request, (_, start, _) in zip(requests, plan, strict=True)])
    goals = {id(request): variants[goal] for request, (_, _, goal) in zip(requests, plan, strict=True)}
    assert it.move(lambda request: goals[id(request)]) == []
    assert sorted(id(each) for line in it for each in line) == sorted(map(id, requests))
    assert it.length == len(requests)
    for line in it:
        assert line.length, "no line stays empty"
        assert all(goals[id(each)] is line.variant for each in line)
        assert line.rows == line.length


def test_a_plain_switch_keeps_the_line_as_it_is(slow, fast):
    requests = [Request(n % 3, enqueued=float(n)) for n in range(9)]
    it = queues(*[(slow, request) for request in requests])
    before = it.line(slow)
    it.move(lambda _: fast)
    assert it.line(fast) is before
    assert before.since == 0.0
    assert turn(it, slow).variant is fast


def test_a_switch_leaves_no_line_of_a_variant_that_nothing_waits_for(slow, fast):
    it = queues((slow, Request()))
    it.line(slow).take(0.0)
    it.line(fast).add(Request())
    it.move(lambda _: fast)
    assert [line.variant for line in it] == [fast]
