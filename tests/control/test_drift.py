"""Drift of layers: one odd sample is none, a lasting change is, noise is not."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.control.drift import WARM_UP, LayerDrift, VariantDrift

CALM = WARM_UP + 3  # samples after which there is a baseline: three are still recent


def _after(*samples: float) -> LayerDrift:
    drift = LayerDrift()
    for sample in samples:
        drift.add(sample)
    return drift


def test_there_is_no_ratio_before_the_warm_up():
    assert math.isnan(_after(*[1.0] * (CALM - 1)).ratio)
    assert _after(*[1.0] * CALM).ratio == 1.0


@pytest.mark.parametrize(
    ("then", "drifting"),
    [
        ([5.0], False),  # one odd sample
        ([5.0, 1.0, 5.0], True),  # two of three
        ([1.5, 1.5], True),
        ([0.5, 0.5], True),  # faster is news as well
        ([1.05, 1.05, 1.05], False),  # within a tenth, however calm it was before
    ],
)
def test_a_lasting_change_drifts(then: list[float], drifting: bool):
    assert _after(*[1.0] * CALM, *then).drifting is drifting


def test_the_baseline_does_not_learn_from_drift_and_drift_ends():
    drift = _after(*[1.0] * CALM, *[2.0] * 50)
    assert drift.drifting
    assert drift.ratio == pytest.approx(2.0)
    for _ in range(2):
        drift.add(1.0)
    assert not drift.drifting


@given(st.integers(0, 1000), st.floats(0.01, 0.05))
def test_stationary_noise_is_hardly_ever_drift(seed: int, spread: float):
    samples = np.random.default_rng(seed).normal(1.0, spread, 300)
    drift, drifted = LayerDrift(), 0
    for sample in samples:
        drift.add(float(sample))
        drifted += drift.drifting
    assert drifted <= 3


def test_a_variant_is_fed_with_sums_and_tells_its_worst_layer():
    drift = VariantDrift()
    count, sums = 0, {"conv": 0.0, "fc": 0.0}

    def profile(**seconds: float) -> None:
        nonlocal count
        count += 1
        for name, value in seconds.items():
            sums[name] += value
        drift.update({name: (count, total) for name, total in sums.items()})
        drift.update({name: (count, total) for name, total in sums.items()})  # nothing new came

    profile(conv=1.0, fc=2.0)
    assert math.isnan(drift.worst)
    for _ in range(CALM):
        profile(conv=1.0, fc=2.0)
    assert (drift.worst, drift.of("conv"), drift.of("fc")) == (1.0, 1.0, 1.0)
    for _ in range(2):
        profile(conv=3.0, fc=2.4)
    assert drift.worst == pytest.approx(3.0)
    assert drift.of("fc") == pytest.approx(1.2)
    assert math.isnan(drift.of("nothing"))


def test_counts_that_fall_are_another_engines():
    drift = VariantDrift()
    for count in range(1, CALM + 2):
        drift.update({"conv": (count, float(count))})
    assert drift.worst == 1.0
    drift.update({"gemm": (1, 5.0), "conv": (1, 5.0)})
    assert math.isnan(drift.worst)
