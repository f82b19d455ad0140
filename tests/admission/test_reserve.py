"""Reserved shares of the device."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.reserve import Reserve

FULL = 8


def batch(reserve: Reserve, waiting: list[int]) -> list[int]:
    """One batch of the classes that wait, each with so many rows, the leader first and then the highest."""
    lead, room, rows = reserve.leads(waiting), FULL, [0] * len(waiting)
    for index in sorted(range(len(waiting)), key=lambda at: (at != lead, at)):
        rows[index] = min(waiting[index], room)
        room -= rows[index]
    reserve.ran(waiting, rows, FULL)
    return rows


@given(st.floats(0.01, 0.9), st.integers(1, 20), st.integers(20, 400))
def test_a_class_that_waits_has_its_share_of_the_rows(share, waits, batches):
    reserve = Reserve((0.0, share))
    total = sum(batch(reserve, [FULL, waits])[1] for _ in range(batches))
    able = min(share * FULL, waits)  # a batch
    assert total >= able * batches - 2 * FULL
    assert total <= share * FULL * batches + FULL


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), max_size=100))
def test_who_leads_waits_and_without_shares_it_is_the_highest(rounds):
    plain, shared = Reserve((0, 0, 0)), Reserve((0, 0.2, 0.3))
    for waiting in rounds:
        highest = next((index for index, count in enumerate(waiting) if count), -1)
        assert plain.leads(waiting) == highest
        lead = shared.leads(waiting)
        assert lead == -1 if highest == -1 else waiting[lead] > 0
        batch(shared, waiting)


@given(st.integers(1, 30), st.floats(0.05, 0.9), st.lists(st.integers(0, 9), max_size=20))
def test_no_more_rows_run_before_than_was_said(own, share, history):
    reserve = Reserve((0.0, share))
    for waits in history:
        batch(reserve, [FULL, waits])
    said, others, left = reserve.rows_before(1, own), 0, own
    while left:
        before, mine = batch(reserve, [FULL, left])
        others, left = others + before, left - mine
    assert others <= said + 3 * FULL


def test_without_a_share_it_may_be_for_ever():
    assert Reserve((0.5, 0)).rows_before(1, 1) == math.inf


def test_nothing_is_saved_up_while_nothing_waits():
    reserve = Reserve((0.0, 0.5))
    for _ in range(100):
        batch(reserve, [FULL, 0])
    assert reserve.leads([FULL, 1]) == 0


@given(st.floats(0.05, 0.9), st.integers(1, FULL), st.integers(0, 300))
def test_what_it_ran_alone_is_not_held_against_it(share, waits, alone):
    reserve = Reserve((0.0, share))
    for _ in range(alone):
        batch(reserve, [0, waits])
    before = 0
    while reserve.leads([FULL, waits]) == 0:
        before += sum(batch(reserve, [FULL, waits]))
    assert before <= FULL / share + FULL


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0), (1.0,)])
def test_shares_leave_something(shares):
    with pytest.raises(ValueError, match="less than 1"):
        Reserve(shares)
