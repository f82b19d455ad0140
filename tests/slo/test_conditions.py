"""Conditions in process: what they remember, and for how long. That PromQL agrees is in tests/exporters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.slo.conditions import Compared, Increase, Labels, Missing, Reader, Share
from sloctl.slo.objective import Selector

A, B = (("model", "a"),), (("model", "b"),)


def read(reader: Reader, now: float, **samples: dict[Labels, float]) -> dict[Labels, float]:
    return dict(reader.read(now, {name: list(series.items()) for name, series in samples.items()}))


def test_a_gauge_is_compared_series_by_series_and_nan_is_neither_more_nor_less() -> None:
    above = Compared(Selector("x", {"model": ("a", "b")}), "gt", 1).reader()
    assert read(above, 0, x={A: 2.0, B: 1.0, (("model", "c"),): 9.0}) == {A: 2.0}
    below = Compared(Selector("x"), "lt", 1).reader()
    assert read(below, 0, x={A: float("nan")}) == read(above, 0) == {}


def test_a_share_needs_a_whole_with_the_same_labels() -> None:
    share = Share(Selector("part"), Selector("whole"), "gt", 0.5)
    assert read(share.reader(), 0, part={A: 3.0, B: 3.0}, whole={A: 4.0}) == {A: 0.75}
    assert read(share.reader(), 0, part={A: 3.0}, whole={A: 0.0}) == {}
    assert share.promql() == "part / (whole > 0) > 0.5"


def test_an_increase_is_over_once_its_window_is() -> None:
    reader = Increase(Selector("x"), 60, "gt", 1).reader()
    assert read(reader, 0, x={A: 5.0}) == {}
    assert read(reader, 10, x={A: 7.0}) == {A: 2.0}
    assert read(reader, 69, x={A: 7.0}) == {A: 2.0}
    assert read(reader, 70, x={A: 7.0}) == {}


def test_a_counter_that_begins_anew_counts_on_and_one_that_was_away_counts_what_it_missed() -> None:
    reader = Increase(Selector("x"), 60, "gt", 0).reader()
    read(reader, 0, x={A: 5.0, B: 5.0})
    assert read(reader, 1, x={A: 2.0}) == {A: 2.0}
    assert read(reader, 2, x={A: 2.0, B: 6.0}) == {A: 2.0, B: 1.0}


def test_increases_are_summed_over_the_labels_left_out() -> None:
    condition = Increase(Selector("x"), 60, "gt", 2, without=("reason",))
    reader = condition.reader()
    exit_, signal = ((("plane", "data"), ("reason", reason)) for reason in ("exit", "signal"))
    read(reader, 0, x={exit_: 0.0, signal: 0.0})
    assert read(reader, 1, x={exit_: 1.0, signal: 2.0}) == {(("plane", "data"),): 3.0}
    assert condition.promql() == "sum without (reason) (increase(x[1m])) > 2"


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=60), st.integers(1, 100))
def test_an_increase_is_what_a_recount_of_the_window_says(steps: list[tuple[int, int]], window: int) -> None:
    reader, now, count = Increase(Selector("x"), window, "gte", 0).reader(), 0, 0
    grown = [(0, 0)]
    read(reader, 0, x={A: 0.0})
    for wait, more in steps:
        now, count = now + wait, count + more
        grown.append((now, more))
        expected = sum(each for at, each in grown if at > now - window)
        assert read(reader, now, x={A: float(count)}) == {A: expected}


def test_something_is_missing_against_what_is_expected_or_the_most_there_was() -> None:
    reader = Missing(Selector("have"), Selector("want"), 100).reader()
    assert read(reader, 0, have={(): 8.0}) == {}
    assert read(reader, 1, have={(): 7.0}) == {(): 7.0}
    assert read(reader, 100, have={(): 7.0}) == {(): 7.0}
    assert read(reader, 101, have={(): 7.0}) == {}, "as many as in the last 100 s"
    assert read(reader, 102, have={(): 7.0}, want={(): 8.0}) == {(): 7.0}
    assert read(reader, 103, have={(): 7.0}, want={(): 7.0}) == {}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=50), st.integers(1, 20))
def test_the_most_there_was_is_that_of_the_window(values: list[int], window: int) -> None:
    reader = Missing(Selector("have"), Selector("want"), window).reader()
    for now, value in enumerate(values):
        most = max(values[max(0, now - window) : now + 1])
        assert (read(reader, now, have={(): float(value)}) != {}) == (value < most)


@pytest.mark.parametrize("op", ["gt", "gte", "lt", "lte"])
def test_each_comparison_is_promqls(op: str) -> None:
    sign = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[op]
    assert Compared(Selector("x", {"a": ("b",)}), op, 0.5).promql() == f'x{{a="b"}} {sign} 0.5'  # type: ignore[arg-type]
