"""The board: what one process writes another reads, whole, by name."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.board import (
    OTHER,
    Board,
    BreakerCommand,
    ControlWord,
    Fault,
    LayerSample,
    LevelState,
    ModelTopology,
    Phase,
    Topology,
)
from sloctl.board.board import BoardMismatchError
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.buckets import duration_bounds, exported_bounds
from sloctl.telemetry.families import HistogramValue


def topology(*, threshold: float = 0.123, layers: int = 4) -> Topology:
    return Topology(
        models=(ModelTopology("m", ("fp32", "int8")), ModelTopology("other", ("only",))),
        priorities=("high", "low"),
        bounds=duration_bounds((threshold,)),
        exported=exported_bounds((threshold,)),
        layers=layers,
        tenants=("acme", "(other)"),
    )


@pytest.fixture
def board():
    made = Board.create(topology())
    yield made
    made.close()
    os.close(made.fd)


@pytest.fixture
def reader(board):
    attached = Board.attach(board.fd, topology())
    yield attached
    attached.close()


def test_a_new_board_admits_everything_on_the_most_accurate_variant(board, reader):
    word = reader.control("m").read()
    assert word == ControlWord(variant=0, admit=(1.0, 1.0), canary=(0.0, 0.0), tiers=(-1, -1))


def test_every_series_of_the_data_plane_is_there_and_zero_from_the_start(board):
    families = {family.metric.name: family for family in board.snapshot().families()}
    assert set(families) == {metric.name for metric in c.DATA_METRICS}
    series = [labels for labels, _ in families[c.REQUESTS.name].samples if labels[0] == "m"]
    assert len(series) == 2 * len(c.OUTCOMES)
    for name, family in families.items():
        assert name == c.LAYER_DURATION.name or family.samples, name
        for _, value in family.samples:
            assert value == 0 or (isinstance(value, HistogramValue) and value.cumulative[-1] == 0)


def test_counts_written_on_one_mapping_are_read_on_another(board, reader):
    board.counter(c.REQUESTS, "m", "low", "ok").inc()
    board.counter(c.REQUESTS, "m", "low", "ok").inc(2)
    board.counter(c.PROBE_SECONDS, "m").inc(0.25)
    board.gauge(c.QUEUE_LENGTH, "other").set(7)
    snapshot = reader.snapshot()
    assert snapshot.scalar(c.REQUESTS, "m", "low", "ok") == 3
    assert snapshot.scalar(c.REQUESTS, "m", "high", "ok") == 0
    assert snapshot.scalar(c.PROBE_SECONDS, "m") == 0.25
    assert snapshot.scalar(c.QUEUE_LENGTH, "other") == 7


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_a_histogram_counts_what_is_at_or_below_each_bound(values):
    board = Board.create(topology())
    try:
        histogram = board.histogram(c.REQUEST_DURATION, "m", "fp32")
        for value in values:
            histogram.observe(value)
        snapshot = board.snapshot()
        counts = snapshot.counts(c.REQUEST_DURATION, "m", "fp32")
        running = counts.cumsum()
        for bound, below in zip(board.topology.bounds, running, strict=False):
            assert below == sum(value <= bound for value in values)
        assert running[-1] == len(values)
        assert snapshot.total(c.REQUEST_DURATION, "m", "fp32") == pytest.approx(sum(values))
        shown = next(f for f in snapshot.families() if f.metric is c.REQUEST_DURATION).samples[0][1]
        assert 0.123 in shown.bounds
        at_threshold = shown.cumulative[shown.bounds.index(0.123)]
        assert at_threshold == sum(value <= 0.123 for value in values)
    finally:
        board.close()
        os.close(board.fd)


def test_a_control_word_is_replaced_whole_and_read_again_only_when_it_changed(board, reader):
    cell = reader.control("m")
    first = cell.read()
    assert cell.read() is first
    word = ControlWord(1, 64, BreakerCommand.TRIP, 3, Fault.ERROR | Fault.SLOW, (1.0, 0.25), (0.0, 0.1), tiers=(-1, 1))
    board.control("m").write(word)
    assert cell.read() == word


def test_a_control_word_of_the_wrong_size_is_refused(board):
    with pytest.raises(ValueError, match="entry for each class"):
        board.control("m").write(ControlWord(admit=(1.0,), canary=(0.0, 0.0), tiers=(-1, -1)))


def test_a_writer_that_died_halfway_does_not_wedge_its_readers_or_its_successor(board, reader):
    place = board.layout.control["m"]
    board.memory.ints[place.start] += 1  # odd: a write has begun and never ended
    assert reader.control("m").read().admit == (1.0, 1.0)
    board.control("m").write(ControlWord(variant=1, admit=(1.0, 0.5), canary=(0.0, 0.0), tiers=(-1, -1)))
    assert board.memory.ints[place.start] % 2 == 0
    assert reader.control("m").read().variant == 1


def test_health_keeps_the_time_of_the_last_success_through_a_failure(board, reader):
    cell = board.health("m", "int8", "inference")
    cell.write(LevelState.PASSING, "ok", now=12.5)
    cell.write(LevelState.FAILING, "output is not finite: " + "é" * 300, now=20.0)
    reading = reader.health("m", "int8", "inference").read()
    assert reading.state is LevelState.FAILING
    assert reading.last_success == 12.5
    assert reading.message.startswith("output is not finite: éé")
    assert len(reading.message.encode()) <= 256


def _profile(**seconds: float) -> list[LayerSample]:
    return [LayerSample(name, value) for name, value in seconds.items()]


def test_the_slowest_layers_have_names_and_the_others_are_summed(board):
    others = board.layers("m", "fp32").record(_profile(conv=0.004, relu=0.001, fc=0.003, add=0.002, pool=0.0005))
    found = {layer.name: layer.total for layer in board.snapshot().layers("m", "fp32")}
    assert found == {"conv": 0.004, "fc": 0.003, "add": 0.002, OTHER: pytest.approx(0.0015)}
    assert others == 2


def test_layers_keep_their_names_whatever_becomes_of_their_times(board):
    table = board.layers("m", "fp32")
    table.record(_profile(conv=0.004, relu=0.001, fc=0.003, add=0.002))
    table.record(_profile(conv=0.004, relu=0.9, fc=0.003, add=0.002))
    successor = board.layers("m", "fp32")  # of the next process
    successor.record(_profile(conv=0.004, relu=0.001, fc=0.003, add=0.002))
    found = {layer.name: (layer.count, layer.total) for layer in board.snapshot().layers("m", "fp32")}
    assert found["conv"] == (3, pytest.approx(0.012))
    assert found[OTHER] == (3, pytest.approx(0.902))


@pytest.mark.parametrize("same_process", [True, False])
def test_another_engines_layers_begin_anew_though_one_is_named_alike(board, same_process):
    table = board.layers("m", "fp32")
    table.record(_profile(conv=0.004, fc=0.001))
    (table if same_process else board.layers("m", "fp32")).record(_profile(gemm=0.002, fc=0.001))
    found = [(layer.name, layer.count) for layer in board.snapshot().layers("m", "fp32")]
    assert found == [("gemm", 1), ("fc", 1)]


def test_a_layer_has_its_kind_and_as_many_whole_nodes_as_fit(board):
    nodes = tuple(f"block{number}.conv{'x' * 20}" for number in range(20))
    board.layers("m", "fp32").record([LayerSample("a", 0.1, "reformat"), LayerSample("b", 0.2, "compute", nodes)])
    first, second = board.snapshot().layers("m", "fp32")
    assert (first.kind, first.nodes) == ("reformat", ())
    assert second.nodes == nodes[: len(second.nodes)]
    assert 5 < len(second.nodes) < 20


def test_a_plane_is_alive_while_it_beats(board, reader):
    board.data_status.begin(pid=42, now=100.0)
    board.data_status.enter(Phase.RUNNING)
    reading = reader.data_status.read()
    assert (reading.pid, reading.phase, reading.alive(100.5, 1.0)) == (42, Phase.RUNNING, True)
    assert not reading.alive(101.5, 1.0)
    board.data_status.enter(Phase.DOWN)
    assert not reader.data_status.read().alive(100.5, 1.0)


def test_a_board_of_another_topology_is_refused(board):
    with pytest.raises(BoardMismatchError, match="restart the daemon"):
        Board.attach(board.fd, topology(layers=3))


def test_another_process_sees_the_same_board(board):
    script = (
        "import sys, json; from sloctl.board import Board, Topology; from sloctl.telemetry import catalogue as c;"
        "b = Board.attach(int(sys.argv[1]), Topology.from_dict(json.loads(sys.argv[2])));"
        "b.counter(c.REQUESTS, 'm', 'high', 'ok').inc(5); print(b.identity)"
    )
    import json

    arguments = [sys.executable, "-c", script, str(board.fd), json.dumps(board.topology.as_dict())]
    done = subprocess.run(arguments, pass_fds=[board.fd], capture_output=True, text=True, check=True)
    assert int(done.stdout) == board.identity
    assert board.snapshot().scalar(c.REQUESTS, "m", "high", "ok") == 5


@given(st.lists(st.floats(1e-5, 99), max_size=5))
def test_thresholds_are_bounds_exactly_and_bounds_ascend(thresholds):
    bounds = duration_bounds(thresholds)
    assert set(thresholds) <= set(bounds)
    assert set(exported_bounds(thresholds)) <= set(bounds)
    assert list(bounds) == sorted(set(bounds))
