import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.board import LevelState
from sloctl.serving.cost import Cost
from sloctl.serving.health import ProbeOutcome, judge, stretched

PASSED, FAILED, BUSY = ProbeOutcome.PASSED, ProbeOutcome.FAILED, ProbeOutcome.BUSY
UNKNOWN, PASSING, MISSED, FAILING = LevelState.UNKNOWN, LevelState.PASSING, LevelState.MISSED, LevelState.FAILING


@pytest.mark.parametrize(
    ("state", "outcome", "served", "expected"),
    [
        pytest.param(PASSING, FAILED, False, MISSED, id="a single miss is tolerated"),
        pytest.param(PASSING, FAILED, True, MISSED, id="a miss is a miss even where requests still succeed"),
        pytest.param(MISSED, FAILED, False, FAILING, id="a second miss in a row fails"),
        pytest.param(FAILING, FAILED, False, FAILING, id="it keeps failing"),
        pytest.param(UNKNOWN, FAILED, False, FAILING, id="one that never passed is not tolerated"),
        pytest.param(MISSED, PASSED, False, PASSING, id="a success resets a miss"),
        pytest.param(FAILING, PASSED, False, PASSING, id="a success resets a failure"),
        pytest.param(PASSING, BUSY, True, PASSING, id="an engine busy with requests that succeed is healthy"),
        pytest.param(MISSED, BUSY, True, MISSED, id="busy is no success either"),
        pytest.param(PASSING, BUSY, False, MISSED, id="busy without any success is a miss"),
        pytest.param(MISSED, BUSY, False, FAILING, id="busy without any success twice fails"),
    ],
)
def test_judges_a_probe(state, outcome, served, expected):
    assert judge(state, outcome, served) is expected


@given(st.floats(0.5, 60), st.floats(0, 10))
def test_probes_never_take_more_than_their_share_of_time(interval, spent):
    chosen = stretched(interval, spent)
    assert chosen >= interval
    assert spent <= 0.005 * chosen * 1.000001


def test_cheap_probes_keep_the_configured_interval():
    assert stretched(5.0, 0.001) == 5.0


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


def test_one_stall_does_not_make_predictions_absurd():
    cost = Cost({1: 0.001})
    cost.observe(1, 3600.0)
    assert cost.predict(1) < 0.01
