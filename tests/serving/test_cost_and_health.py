import pytest

from sloctl.board import LevelState
from sloctl.serving.cost import Cost
from sloctl.serving.health import ProbeOutcome, judge

PASSED, FAILED, BUSY = ProbeOutcome.PASSED, ProbeOutcome.FAILED, ProbeOutcome.BUSY
UNKNOWN, PASSING, MISSED, FAILING, DEGRADED = LevelState


@pytest.mark.parametrize(
    ("state", "outcome", "expected"),
    [
        pytest.param(PASSING, FAILED, MISSED, id="a single miss is tolerated"),
        pytest.param(DEGRADED, FAILED, MISSED, id="so it is where something else is lost"),
        pytest.param(MISSED, FAILED, FAILING, id="a second miss in a row fails"),
        pytest.param(FAILING, FAILED, FAILING, id="it keeps failing"),
        pytest.param(UNKNOWN, FAILED, FAILING, id="one that never passed is not tolerated"),
        pytest.param(MISSED, PASSED, PASSING, id="a success resets a miss"),
        pytest.param(FAILING, PASSED, PASSING, id="a success resets a failure"),
        pytest.param(PASSING, BUSY, PASSING, id="an engine busy with batches that succeed is healthy"),
        pytest.param(MISSED, BUSY, MISSED, id="busy is no success either"),
    ],
)
def test_judges_a_probe(state, outcome, expected):
    assert judge(state, outcome) is expected


def test_cost_is_linear_between_measured_sizes_and_beyond_the_largest():
    cost = Cost({1: 0.001, 4: 0.004, 8: 0.006})
    assert cost.predict(1) == pytest.approx(0.001)
    assert cost.predict(2) == pytest.approx(0.002)
    assert cost.predict(6) == pytest.approx(0.005)
    assert cost.predict(16) == pytest.approx(0.012)


def test_capacity_is_that_of_the_best_batch_size():
    cost = Cost({1: 0.001, 4: 0.002, 8: 0.006})
    assert cost.capacity == pytest.approx(2000)
    assert cost.seconds_per_row == pytest.approx(1 / 2000)


def test_cost_follows_an_engine_that_has_become_slower():
    cost = Cost({1: 0.001, 8: 0.004})
    for _ in range(200):
        cost.observe(4, 2 * 0.0022857)
    assert cost.predict(8) == pytest.approx(0.008, rel=0.01)
    assert cost.capacity == pytest.approx(2000), "what was measured stays"


def test_without_batches_what_was_seen_is_forgotten_or_nothing_would_be_let_in_again():
    cost = Cost({1: 0.001})
    for _ in range(50):
        cost.observe(1, 0.9)
        cost.rest()
    assert cost.predict(1) == pytest.approx(0.9, rel=0.1), "a slow-down of 900 is learnt, too"
    slow = [cost.rest() or cost.predict(1) for _ in range(600)]  # a minute
    assert slow == sorted(slow, reverse=True)
    assert cost.predict(1) == pytest.approx(0.001, rel=0.1)


def test_one_stall_does_not_make_predictions_absurd():
    cost = Cost({1: 0.001})
    cost.observe(1, 3600.0)
    assert cost.predict(1) < 0.01
