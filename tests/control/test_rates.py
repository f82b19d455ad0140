"""Quantiles from buckets, and differences over the last seconds."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.board import Board, ModelTopology, Topology
from sloctl.control.rates import Recent, quantile
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.buckets import duration_bounds, exported_bounds

TOPOLOGY = Topology((ModelTopology("m", ("a",)),), ("only",), duration_bounds(), exported_bounds())


@pytest.fixture
def board():
    made = Board.create(TOPOLOGY)
    yield made
    made.close()
    os.close(made.fd)


@given(st.lists(st.floats(1e-5, 90), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_within_a_bucket_of_the_true_one(values, q):
    bounds = TOPOLOGY.bounds
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds) + 1)
    true = float(np.quantile(values, q, method="inverted_cdf"))
    index = int(np.searchsorted(bounds, true))
    lower = bounds[index - 1] if index else 0.0
    found = quantile(bounds, counts, q)
    assert lower - 1e-12 <= found <= bounds[index] + 1e-12


def test_without_observations_a_quantile_is_no_number():
    assert np.isnan(quantile((1.0, 2.0), np.zeros(3, np.int64), 0.5))


def test_above_the_last_bound_the_last_bound_is_all_that_can_be_said():
    assert quantile((1.0, 2.0), np.array([0, 0, 5]), 0.5) == 2.0


def test_rates_are_taken_over_the_span_and_old_counts_fall_out(board):
    recent = Recent(span=2.0)
    requests = board.counter(c.REQUESTS, "m", "only", "ok")
    recent.push(0.0, board.snapshot())
    assert recent.rate(c.REQUESTS, "m", "only", "ok") == 0.0
    for second in range(1, 6):
        requests.inc(10)
        recent.push(float(second), board.snapshot())
    assert recent.rate(c.REQUESTS, "m", "only", "ok") == pytest.approx(10)
    for second in range(6, 9):
        recent.push(float(second), board.snapshot())
    assert recent.rate(c.REQUESTS, "m", "only", "ok") == 0.0
