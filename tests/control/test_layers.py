"""Layer sums at earlier times."""

import pytest

from sloctl.board import Board, LayerSample, ModelTopology, Topology
from sloctl.control.layers import Layers
from sloctl.telemetry.buckets import duration_bounds, exported_bounds


@pytest.fixture
def board() -> Board:
    models = (ModelTopology("m", ("fp32",)),)
    return Board.create(Topology(models, ("normal",), duration_bounds(()), exported_bounds(()), layers=4))


def test_means_since_a_moment_and_before_it(board: Board):
    layers, table = Layers(board.topology), board.layers("m", "fp32")
    for second in range(1200):
        if second % 10 == 0:
            table.record([LayerSample("conv", 0.001 if second < 905 else 0.003)])
        layers.update(float(second), board.snapshot())
    earlier = layers.before(1199.0, ago=290.0)
    (conv,) = layers.describe(("m", "fp32"), board.snapshot().layers("m", "fp32"), earlier)
    assert conv["meanSeconds"] == pytest.approx(0.003, rel=0.1)
    assert conv["meanSecondsBefore"] == pytest.approx(0.001, rel=0.01)
    assert conv["samples"] + conv["samplesBefore"] == 120
    assert conv["drifting"]


def test_sums_of_another_engine_before_are_left_out(board: Board):
    layers = Layers(board.topology)
    table = board.layers("m", "fp32")
    for _ in range(5):
        table.record([LayerSample("conv", 0.001), LayerSample("fc", 0.001)])
    layers.update(0.0, board.snapshot())
    table.record([LayerSample("gemm", 0.001), LayerSample("fc", 0.002)])
    layers.update(100.0, board.snapshot())
    earlier = layers.before(100.0, ago=60.0)
    _, fc = layers.describe(("m", "fp32"), board.snapshot().layers("m", "fp32"), earlier)
    assert (fc["samples"], fc["samplesBefore"]) == (1, 0)
    assert fc["meanSeconds"] == pytest.approx(0.002)


def test_before_the_first_sums_everything_is_new(board: Board):
    layers = Layers(board.topology)
    board.layers("m", "fp32").record([LayerSample("conv", 0.001)])
    layers.update(100.0, board.snapshot())
    assert layers.before(100.0, ago=3600.0) == {}
    (conv,) = layers.describe(("m", "fp32"), board.snapshot().layers("m", "fp32"), {})
    assert (conv["samples"], conv["meanSecondsBefore"]) == (1, None)


def test_a_week_of_sums_takes_bounded_room(board: Board):
    layers = Layers(board.topology)
    board.layers("m", "fp32").record([LayerSample("conv", 0.001)])
    snapshot = board.snapshot()
    for minute in range(14 * 24 * 60):
        layers.update(minute * 60.0, snapshot)
    assert sum(len(ring.kept) for ring in layers._rings) <= 120 + 168
    assert layers.before(14 * 86400.0, ago=6 * 86400.0)
