"""From counters to SLOs: what is written in parts, one after the other, is counted whole."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.control.judging import Judge
from sloctl.slo.objective import Objective, Ratio, Selector

REQUESTS, ERRORS = "sloctl_requests_total", "sloctl_engine_errors_total"
SLO = Objective("a", "s", "a", Ratio(Selector(REQUESTS), bad=Selector(ERRORS)), 0.99, 3600.0)
START = 1_000_000.0


class Counters:
    """Stands for the indicators: the good and total counts that the judge reads next."""

    def __init__(self):
        self.bad = self.total = 0

    def read(self, _snapshot, _now):
        return np.array([self.total - self.bad]), np.array([self.total])


@pytest.fixture
def judged():
    return _judged()


def _judged():
    judge, counters = Judge((SLO,), (), SimpleNamespace(topology=SimpleNamespace(models=())), dict), Counters()
    judge._indicators = counters
    judge.begin(None, START, None)
    return judge, counters


@given(st.lists(st.tuples(st.sampled_from(["total", "bad", "both"]), st.integers(1, 5)), max_size=60))
def test_failures_seen_before_or_after_their_requests_are_all_counted(steps):
    judge, counters = _judged()
    now = START
    for what, count in steps:
        counters.total += count if what != "bad" else 0
        counters.bad = min(counters.bad + (count if what != "total" else 0), counters.total + 5)
        now += 0.25
        judge.tick(now, now, None)
    counters.total += 1000  # later requests, among which the failures of those taken for good find room
    judge.tick(now + 1, now + 1, None)
    good, total = judge.evaluator.counted("a")
    assert (total - good, total) == (counters.bad, counters.total)


def test_each_failure_a_tick_after_its_request_is_bad_and_not_good(judged):
    judge, counters = judged
    for tick in range(1, 101):
        counters.total += tick % 2
        counters.bad += 1 - tick % 2
        judge.tick(START + tick, START + tick, None)
    counters.total += 1
    judge.tick(START + 101, START + 101, None)
    assert judge.evaluator.counted("a") == (1, 51)


def test_failures_before_the_first_tick_wait_for_their_requests(judged):
    judge, counters = judged
    counters.bad = 3
    judge.tick(START + 1, START + 1, None)
    counters.total = 5
    judge.tick(START + 2, START + 2, None)
    assert judge.evaluator.counted("a") == (2, 5)


def test_counts_that_never_fit_are_not_waited_for_without_end(judged):
    judge, counters = judged
    counters.bad = 1000
    for tick in range(1, 200):
        counters.total += 1
        judge.tick(START + tick, START + tick, None)
    assert judge.evaluator.counted("a")[1] > 100
