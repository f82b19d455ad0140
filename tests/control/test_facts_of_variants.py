"""What policies see of each variant, from the board: slowness, batches, breaker."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from sloctl.board import Board, ModelTopology, Topology
from sloctl.config.daemon import ModelConfig
from sloctl.control.facts import LiveFacts
from sloctl.control.rates import Recent
from sloctl.telemetry import catalogue as c

TOPOLOGY = Topology((ModelTopology("m", ("fp32", "int8")),), ("high",), bounds=(1.0,), exported=(1.0,))


@pytest.fixture
def board():
    return Board.create(TOPOLOGY)


@pytest.fixture
def facts(board):
    """Facts over what happens to the board after the first snapshot; fp32 serves."""
    recent = Recent()
    recent.push(0.0, board.snapshot())

    def now() -> LiveFacts:
        recent.push(1.0, board.snapshot())
        senses: Any = SimpleNamespace(recent=recent, health=SimpleNamespace(serving={"m": "fp32"}))
        model = ModelConfig(name="m", variants=["fp32", "int8"])
        return LiveFacts(model, senses, evaluator=None, received=None, now=1.0, wall=0.0)  # type: ignore[arg-type]

    return now


def test_slowdown_is_the_time_of_batches_over_their_measured_time(board, facts) -> None:
    board.counter(c.BATCH_SECONDS, "m", "fp32").inc(0.5)
    board.counter(c.BATCH_MEASURED_SECONDS, "m", "fp32").inc(0.3)
    seen = facts()
    assert seen.get("slowdown", ()) == seen.get("slowdown", ("fp32",)) == pytest.approx(5 / 3)
    assert math.isnan(seen.get("slowdown", ("int8",)))


def test_batch_sizes_have_a_mean_and_quantiles(board, facts) -> None:
    for rows in (1, 1, 1, 8):
        board.histogram(c.BATCH_SIZE, "m", "fp32").observe(rows)
    seen = facts()
    assert seen.get("batch_size", ()) == 11 / 4
    assert seen.get("batch_size", (0.5,)) <= 1
    assert 4 < seen.get("batch_size", (0.99,)) <= 8


def test_a_variants_breaker_is_not_the_models(board, facts) -> None:
    board.gauge(c.VARIANT_BREAKER.state, "m", "int8", "open").set(1.0)
    board.gauge(c.MODEL_BREAKER.state, "m", "half_open").set(1.0)
    seen = facts()
    states = [seen.get("breaker", ("int8",)), seen.get("breaker", ("fp32",)), seen.get("breaker", ())]
    assert states == ["open", "closed", "half_open"]
