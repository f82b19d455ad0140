from types import SimpleNamespace

import numpy as np
import pytest

from sloctl.board import Board, ModelTopology, Topology
from sloctl.config.daemon import ModelConfig
from sloctl.control.facts import LiveFacts
from sloctl.control.rates import Recent
from sloctl.control.sizes import RequestSizes
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


class Model:
    """Requests of a model on a board, a second each time; `facts` are those of the last tick."""

    def __init__(self) -> None:
        self.board, self.recent, self.now = Board.create(TOPOLOGY), Recent(), 0.0
        self.sizes = RequestSizes(TOPOLOGY)
        self.tick()

    def tick(self, executed: int = 0, rows: int = 1, refused: int = 0) -> None:
        self.board.counter(c.REQUESTS, "m", "high", "ok").inc(executed)
        self.board.counter(c.REQUESTS, "m", "high", "breaker_open").inc(refused)
        self.board.counter(c.EXECUTED_REQUESTS, "m").inc(executed)
        if executed:
            self.board.histogram(c.BATCH_SIZE, "m", "a").observe(executed * rows)
        self.recent.push(self.now, self.board.snapshot())
        self.sizes.look(self.recent)
        self.now += 1.0

    def facts(self) -> tuple[float, float]:
        senses = SimpleNamespace(recent=self.recent, board=self.board, sizes=self.sizes)
        facts = LiveFacts(ModelConfig(name="m", variants=["a"]), senses, None, None, self.now, 0.0)
        return facts.get("offered_rows", ()), facts.get("request_rows", ())


def test_the_load_in_rows_is_that_of_requests_as_large_as_were_executed_last():
    model, seen = Model(), []
    for _ in range(4):
        model.tick(executed=25, rows=4)
        seen.append(model.facts())
    for _ in range(5):
        model.tick(refused=25)
        seen.append(model.facts())
    assert seen == [(pytest.approx(100), pytest.approx(4))] * 9


def test_requests_of_long_ago_say_nothing_of_the_load_while_all_is_refused():
    model = Model()
    for rows in [4] * 50 + [1] * 5:
        model.tick(executed=25, rows=rows)
    for _ in range(10):
        model.tick(refused=25)
        assert model.facts() == (pytest.approx(25), pytest.approx(1))


def test_who_comes_after_a_restart_begins_with_all_that_were_executed():
    model = Model()
    model.tick(executed=10, rows=8)
    model.recent, model.sizes = Recent(), RequestSizes(TOPOLOGY)
    for _ in range(2):
        model.tick(refused=25)
    assert model.facts() == (pytest.approx(200), pytest.approx(8))


def test_before_any_request_was_executed_a_request_counts_as_one_row():
    model = Model()
    model.tick(refused=30)
    offered, rows = model.facts()
    assert offered == 30
    assert np.isnan(rows)
