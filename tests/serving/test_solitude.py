"""Whether requests come alone: believed after some that did, and doubted every few."""

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
def test_of_any_sixteen_requests_that_come_alone_at_least_one_looks_for_others(before):
    solitude, seen = after(*before), []
    for _ in range(16):
        seen.append(solitude.likely)
        solitude.ran(1)
    assert not all(seen)


def test_it_is_believed_after_four():
    assert [after(*[1] * count).likely for count in range(6)] == [False, False, False, False, True, True]


def test_a_failure_ends_it():
    solitude = after(1, 1, 1, 1, 1)
    solitude.end()
    assert not solitude.likely
