"""Reserved shares of batches."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.reserve import Reserve


@given(st.floats(0.01, 0.9), st.integers(100, 400))
def test_a_class_that_waits_leads_its_share_of_the_batches_evenly(share, batches):
    reserve = Reserve((0.0, share))
    led = [reserve.leads((5, 5)) == 1 for _ in range(batches)]
    assert sum(led) == pytest.approx(share * batches, abs=1.01)
    longest = math.ceil(1 / share - 1e-6) - 1
    gaps = "".join("x" if each else "." for each in led).split("x")
    assert max(map(len, gaps)) <= longest


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=100))
def test_who_leads_waits_and_without_shares_it_is_the_highest(rounds):
    plain, shared = Reserve((0, 0, 0)), Reserve((0, 0.2, 0.3))
    for waiting in rounds:
        highest = next((index for index, count in enumerate(waiting) if count), -1)
        assert plain.leads(waiting) == highest
        lead = shared.leads(waiting)
        assert lead == -1 if highest == -1 else waiting[lead] > 0


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), max_size=60))
def test_no_more_batches_go_before_than_was_said(rounds):
    reserve = Reserve((0.1, 0.2, 0.3))
    for waiting in rounds:
        reserve.leads(waiting)
    for index in (1, 2):
        said = reserve.batches_before(index)
        alone = [1, 0, 0]
        alone[index] = 1
        passed = next(number for number in range(1000) if reserve.leads(alone) == index)
        assert passed == said


def test_without_a_share_it_may_be_for_ever():
    assert Reserve((0.5, 0)).batches_before(1) == math.inf


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0), (1.0,)])
def test_shares_leave_something(shares):
    with pytest.raises(ValueError, match="less than 1"):
        Reserve(shares)
