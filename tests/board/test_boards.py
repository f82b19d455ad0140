"""Several boards as one: what is summed, what is the worst, and who is asked."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.board import Board, Boards, LayerSample, LevelState, ModelTopology, Phase, Topology
from sloctl.board.layout import bounds_of
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.catalogue import Kind, Merge

TOPOLOGY = Topology((ModelTopology("m", ("fp32", "int8")),), ("high", "low"), (0.1, 1.0), (0.1,), layers=4)
NOW = 1000.0


def boards(phases: list[Phase]) -> Boards:
    made = [Board.create(TOPOLOGY) for _ in phases]
    for pid, (board, phase) in enumerate(zip(made, phases, strict=True), 1):
        board.data_status.begin(pid, NOW)
        board.data_status.enter(phase)
    return Boards(made, lambda: NOW)


@pytest.fixture
def two() -> Boards:
    return boards([Phase.RUNNING, Phase.RUNNING])


@given(st.lists(st.tuples(st.sampled_from(list(Phase)), st.integers(0, 9), st.floats(0, 9)), min_size=1, max_size=4))
def test_counts_are_of_all_and_gauges_of_those_that_run(each: list[tuple[Phase, int, float]]) -> None:
    several = boards([phase for phase, _, _ in each])
    for board, (_, count, seconds) in zip(several, each, strict=True):
        board.counter(c.INFERENCES, "m", "fp32").inc(count)
        board.counter(c.PROBE_SECONDS, "m").inc(seconds)
        board.histogram(c.QUEUE_DURATION, "m", "high").observe(seconds)
        board.gauge(c.QUEUE_LENGTH, "m").set(count)
        board.gauge(c.VARIANT_ACCURACY, "m", "fp32").set(seconds)
    found = several.snapshot()
    assert found.scalar(c.INFERENCES, "m", "fp32") == sum(count for _, count, _ in each)
    assert found.scalar(c.PROBE_SECONDS, "m") == pytest.approx(sum(seconds for _, _, seconds in each))
    assert found.counts(c.QUEUE_DURATION, "m", "high").sum() == len(each)
    assert found.total(c.QUEUE_DURATION, "m", "high") == pytest.approx(sum(seconds for _, _, seconds in each))
    live = [values for phase, *values in each if phase is Phase.RUNNING] or [values for _, *values in each]
    assert found.scalar(c.QUEUE_LENGTH, "m") == sum(count for count, _ in live)
    assert found.scalar(c.VARIANT_ACCURACY, "m", "fp32") == max(seconds for _, seconds in live)


def test_every_word_of_a_metric_is_merged_by_one_rule() -> None:
    layout = Board.create(TOPOLOGY).layout
    taken: list[int] = []
    for (name, _), cell in layout.cells.items():
        metric = c.find(name)
        assert metric is not None
        width = len(bounds_of(metric, TOPOLOGY)) + 2 if metric.kind is Kind.HISTOGRAM else 1
        taken += range(cell, cell + width)
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        (("closed", "closed"), "closed"),
        (("closed", "open"), "open"),
        (("half_open", "closed"), "half_open"),
        (("open", "forced_open"), "forced_open"),
        (("disabled", "closed"), "closed"),
    ],
)
def test_of_breakers_the_worst_alone_is_shown(two: Boards, states: tuple[str, str], shown: str) -> None:
    for board, state in zip(two, states, strict=True):
        board.gauge(c.BREAKER_STATE, "m", state).set(1.0)
    found = two.snapshot()
    assert [state for state in c.BREAKER_STATES if found.scalar(c.BREAKER_STATE, "m", state)] == [shown]


def test_the_worst_order_has_every_state() -> None:
    assert sorted(c.BREAKER_WORST) == sorted(c.BREAKER_STATES)
    assert c.BREAKER_STATE.merge is Merge.WORST


def test_health_is_the_worst(two: Boards) -> None:
    for board, state in zip(two, (LevelState.PASSING, LevelState.FAILING), strict=True):
        board.health("m", "fp32", "device").write(state, "", NOW)
    family = next(f for f in two.snapshot().families() if f.metric is c.HEALTH_LEVEL)
    assert dict(family.samples)["m", "fp32", "device"] == 0.0


def test_layers_are_summed_by_name_and_the_rest_stays_last(two: Boards) -> None:
    for board, names in zip(two, ("abcd", "bcde"), strict=True):
        samples = [LayerSample(name, float(len(names) - at)) for at, name in enumerate(names)]
        board.layers("m", "fp32").record(samples)
    found = two.snapshot().layers("m", "fp32")
    assert [layer.name for layer in found] == ["a", "b", "c", "d", "(other)"]
    assert {layer.name: (layer.count, layer.total) for layer in found}["b"] == (2, 3.0 + 4.0)
    assert sum(layer.total for layer in found) == 2 * (4 + 3 + 2 + 1)


def test_a_control_word_reaches_every_board_and_a_torn_one_is_mended(two: Boards) -> None:
    from dataclasses import replace

    cell = two.control("m")
    cell.write(replace(cell.read(), variant=1))
    first, second = two
    assert second.control("m").read().variant == 1
    second.control("m").write(replace(cell.read(), variant=0))
    two.agree()
    assert second.control("m").read() == first.control("m").read() == cell.read()


def test_restarts_are_of_all_devices(two: Boards) -> None:
    for board in two:
        board.data_status.count_restart("signal")
    assert two.restarts("data")["signal"] == 2
    assert two.restarts("control")["signal"] == 0


@pytest.mark.parametrize(
    ("change", "offered"),
    [
        (lambda status: None, 3),
        (lambda status: status.offer(None), None),
        (lambda status: status.enter(Phase.DRAINING), None),
        (lambda status: status.beat(NOW - 5), None),
        (lambda status: status.begin(7, NOW), None),
    ],
)
def test_connections_are_offered_while_it_runs_and_beats(change: Callable, offered: int | None) -> None:
    status = next(iter(boards([Phase.RUNNING]))).data_status
    status.offer(3)
    change(status)
    assert status.offered(NOW, 1.0) == offered
