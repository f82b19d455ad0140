"""What of a variant's times is told on the board: batches at work, not those after a pause."""

import pytest

from sloctl.board import Board, ModelTopology, Topology
from sloctl.config.daemon import BreakerConfig
from sloctl.serving.cost import Cost
from sloctl.serving.variant import Variant
from sloctl.telemetry import catalogue as c

TOPOLOGY = Topology((ModelTopology("m", ("a",)),), ("high",), bounds=(1.0,), exported=(1.0,))


def test_batches_that_follow_upon_another_are_told_with_what_they_took_when_measured() -> None:
    board = Board.create(TOPOLOGY)
    variant = Variant(board, "m", "a", None, BreakerConfig())
    variant.cost = Cost({1: 0.01, 4: 0.02})

    def told() -> tuple[float, float]:
        seen = board.snapshot()
        return seen.scalar(c.BATCH_SECONDS, "m", "a"), seen.scalar(c.BATCH_MEASURED_SECONDS, "m", "a")

    variant.timed(1, 0.03, now=100.0)  # nothing ran before it
    assert told() == (0.0, 0.0)
    variant.timed(4, 0.03, now=100.03)
    variant.timed(4, 0.03, now=100.07)
    assert told() == pytest.approx((0.06, 0.04))
    variant.timed(4, 0.05, now=101.0)
    assert told() == pytest.approx((0.06, 0.04))
    assert variant.cost.correction > 1.0
