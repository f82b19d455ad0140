from types import SimpleNamespace

import numpy as np
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


def test_every_outcome_was_offered_but_what_no_precision_would_have_served(offered):
    assert offered(*c.OUTCOMES) == len(c.OUTCOMES) - 2
    assert offered("rate_limited", "invalid") == len(c.OUTCOMES) - 2


def test_to_policies_a_rate_is_unknown_until_half_of_its_span_was_seen():
    board, recent = Board.create(TOPOLOGY), Recent()
    requests = board.counter(c.REQUESTS, "m", "high", "ok")
    seen = []
    for tick in range(6):
        requests.inc(25)
        now = tick * 0.25
        recent.push(now, board.snapshot())
        senses = SimpleNamespace(recent=recent, board=board)
        facts = LiveFacts(ModelConfig(name="m", variants=["a"]), senses, None, None, now, 0.0)
        seen.append([facts.get("offered_rate", ()), facts.get("offered", ("high",)), facts.get("served_rate", ())])
    assert np.isnan(seen[:4]).all()
    assert seen[4:] == [[pytest.approx(100)] * 3] * 2


def test_the_load_in_rows_is_that_of_requests_as_large_as_were_executed_last():
    board, recent = Board.create(TOPOLOGY), Recent()
    ok, refused = (board.counter(c.REQUESTS, "m", "high", outcome) for outcome in ("ok", "breaker_open"))
    executed, batches = board.counter(c.EXECUTED_REQUESTS, "m"), board.histogram(c.BATCH_SIZE, "m", "a")
    seen = []
    for tick in range(10):
        if 0 < tick < 5:
            ok.inc(25)
            executed.inc(25)
            batches.observe(100)
        refused.inc(0 if tick < 5 else 25)
        recent.push(tick * 1.0, board.snapshot())
        senses = SimpleNamespace(recent=recent, board=board)
        facts = LiveFacts(ModelConfig(name="m", variants=["a"]), senses, None, None, tick * 1.0, 0.0)
        seen.append((facts.get("offered_rows", ()), facts.get("request_rows", ())))
    assert np.isnan(seen[0]).all()
    assert seen[1:] == [(pytest.approx(100), pytest.approx(4))] * 9


def test_before_any_request_was_executed_a_request_counts_as_one_row():
    board, recent = Board.create(TOPOLOGY), Recent()
    recent.push(0.0, board.snapshot())
    board.counter(c.REQUESTS, "m", "high", "breaker_open").inc(30)
    recent.push(1.0, board.snapshot())
    senses = SimpleNamespace(recent=recent, board=board)
    facts = LiveFacts(ModelConfig(name="m", variants=["a"]), senses, None, None, 1.0, 0.0)
    assert facts.get("offered_rows", ()) == 30
    assert np.isnan(facts.get("request_rows", ()))
