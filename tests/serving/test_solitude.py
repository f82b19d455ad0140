"""Whether requests come alone: believed after some that did, and doubted every few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.serving.solitude import Solitude


def after(*batches: int) -> Solitude:
    solitude = Solitude()
    for requests in batches:
        solitude.ran(requests)
    return solitude


@given(st.lists(st.integers(1, 8), max_size=60), st.integers(2, 8))
def test_a_batch_of_several_ends_it(before, several):
    assert not after(*before, several).likely


@given(st.lists(st.integers(1, 8), max_size=60))
def test_of_any_seventeen_requests_that_come_alone_at_least_one_looks_for_others(before):
    solitude, seen = after(*before), []
    for _ in range(17):
        seen.append(solitude.likely)
        solitude.ran(1)
    assert not all(seen)


@given(st.integers(0, 50), st.integers(2, 16))
def test_those_that_always_come_together_are_seen_to(alone, together):
    solitude = after(*[1] * alone)
    for _ in range(100):  # turns of the loop
        waiting = 0
        for _ in range(together):
            if waiting or not solitude.likely:
                waiting += 1
            else:
                solitude.ran(1)
        if waiting > 1:
            return
        if waiting:
            solitude.ran(waiting)
    pytest.fail("each ran alone")


def test_it_is_believed_after_four():
    assert [after(*[1] * count).likely for count in range(6)] == [False, False, False, False, True, True]


def test_a_failure_ends_it():
    solitude = after(1, 1, 1, 1, 1)
    solitude.end()
    assert not solitude.likely
