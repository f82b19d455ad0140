from types import SimpleNamespace

import pytest

from sloctl.board import Board, ModelTopology, Topology
from sloctl.config.daemon import ModelConfig
from sloctl.control.facts import LiveFacts
from sloctl.control.rates import Recent
from sloctl.telemetry import catalogue as c

TOPOLOGY = Topology((ModelTopology("m", ("a",)),), ("high", "low"), (1.0,), (1.0,))


@pytest.fixture
def offered():
    """What is offered a second after these outcomes of a class in a second."""
    board, recent = Board.create(TOPOLOGY), Recent()
    recent.push(0.0, board.snapshot())

    def after(*outcomes, priority="high"):
        for outcome in outcomes:
            board.counter(c.REQUESTS, "m", priority, outcome).inc()
        recent.push(1.0, board.snapshot())
        senses = SimpleNamespace(recent=recent, board=board)
        return LiveFacts(ModelConfig(name="m", variants=["a"]), senses, None, None, 1.0, 0.0).offered()

    return after


def test_every_outcome_was_offered_but_those_over_a_tenants_rate(offered):
    assert offered(*c.OUTCOMES) == len(c.OUTCOMES) - 1
    assert offered("rate_limited") == len(c.OUTCOMES) - 1
