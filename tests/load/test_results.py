import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.load.results import Fate, Record, by_phase, first_bad_second, lag, quantile, summarise
from sloctl.load.schedule import Phase, plan


def record(at=0.0, took=0.1, status=200, *, phase="calm", priority="normal", sent=None, variant="fp32", reason=None):
    sent = at if sent is None else sent
    return Record(phase, priority, at, sent, at + took, status, variant if status == 200 else None, reason)


@pytest.mark.parametrize(
    ("made", "fate"),
    [
        pytest.param(record(took=0.25), Fate.GOOD, id="an answer at the objective is good"),
        pytest.param(record(took=0.2501), Fate.LATE, id="an answer after the objective is late"),
        pytest.param(record(sent=0.2, took=0.3), Fate.LATE, id="time before the send counts too"),
        pytest.param(record(status=503), Fate.REFUSED, id="503 is a refusal"),
        pytest.param(record(status=429), Fate.REFUSED, id="429 is a refusal"),
        pytest.param(record(status=504), Fate.REFUSED, id="504 is a refusal"),
        pytest.param(record(status=500), Fate.FAILED, id="500 is a failure"),
        pytest.param(record(status=400), Fate.FAILED, id="400 is a failure of the load itself"),
        pytest.param(record(status=0), Fate.FAILED, id="no answer is a failure"),
    ],
)
def test_the_fate_of_a_request(made, fate):
    assert made.fate(0.25) is fate


def test_a_summary_counts_each_request_once():
    made = [
        *(record(took=0.1, priority="high") for _ in range(6)),
        *(record(took=0.2, variant="int8") for _ in range(2)),
        record(took=0.4, variant="int8"),
        record(status=503, priority="low", reason="shed"),
        record(status=503, priority="low", reason="shed"),
        record(status=500, reason="engine"),
        record(status=0, took=2.0, reason="timeout"),
    ]
    found = summarise(made, 2.0, 0.25)
    assert (found.offered, found.good, found.late, found.refused, found.failed) == (13, 8, 1, 2, 2)
    assert found.unanswered == 1
    assert found.goodput == 4.0
    assert (found.p50, found.p99) == (pytest.approx(0.1), pytest.approx(0.4))
    assert found.variants == {"fp32": 6 / 9, "int8": 3 / 9}
    assert found.good_share == {"high": 1.0, "normal": 2 / 5, "low": 0.0}
    assert found.reasons == {"shed": 2, "engine": 1, "timeout": 1}


def test_a_summary_of_nothing():
    found = summarise([], 1.0, 0.25)
    assert (found.offered, found.goodput, found.variants, found.good_share) == (0, 0.0, {}, {})
    assert math.isnan(found.p99)


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from([0, 200, 400, 429, 500, 503, 504]))))
def test_the_fates_add_up_to_what_was_offered(made):
    found = summarise([record(took=took, status=status) for took, status in made], 1.0, 0.25)
    assert found.good + found.late + found.refused + found.failed == found.offered == len(made)
    assert sum(found.reasons.values()) == found.offered - found.good - found.late


def test_phases_are_summed_apart_and_in_order():
    schedule = plan([Phase("calm", 2, 1), Phase("surge", 4, 1)], {"normal": 1}, 0)
    found = by_phase([record(phase="surge"), record(phase="surge"), record(phase="calm")], schedule, 0.25)
    assert [(name, s.offered, s.goodput) for name, s in found.items()] == [("calm", 1, 0.5), ("surge", 2, 0.5)]


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        pytest.param([3, 1, 2], 0.5, 2, id="the median of three"),
        pytest.param(range(1, 101), 0.99, 99, id="the 99th of a hundred"),
        pytest.param(range(1, 102), 0.99, 100, id="the 100th of a hundred and one"),
        pytest.param([7], 0.0, 7, id="one value is every quantile"),
        pytest.param([1, 2], 1.0, 2, id="the largest"),
    ],
)
def test_quantiles_are_values_that_were_seen(values, q, expected):
    assert quantile(list(values), q) == expected


def test_lag_is_the_drivers_own():
    assert lag([record(sent=0.003, took=5.0), record(sent=0.001)]) == pytest.approx(0.003)


SECONDS = [
    *(record(at=t / 10) for t in range(20)),
    record(at=2.0, took=0.3),
    record(at=2.5),
    record(at=3.5, status=503),
]


@pytest.mark.parametrize(
    ("start", "target", "expected"),
    [
        pytest.param(0, 0.99, 2.0, id="the second with the late answer"),
        pytest.param(0.5, 0.99, 1.5, id="seconds count from the start asked for"),
        pytest.param(0, 0.5, 3.0, id="half of them good is enough for a target of a half"),
        pytest.param(4, 0.99, None, id="none where nothing was offered"),
    ],
)
def test_the_first_bad_second(start, target, expected):
    assert first_bad_second(SECONDS, start, 0.25, target) == expected
