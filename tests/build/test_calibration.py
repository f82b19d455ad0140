import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sloctl.build.calibration import LEAST, doubts, stability

FINITE = arrays(np.float64, st.integers(2, 50), elements=st.floats(-1e6, 1e6))
RANDOM = np.random.default_rng(0)


@given(FINITE)
def test_a_sample_is_like_itself(values: np.ndarray):
    assert stability(values, values) == pytest.approx(0, abs=1e-12)


@given(FINITE, FINITE)
def test_the_index_is_never_negative(a: np.ndarray, b: np.ndarray):
    assert stability(a, b) >= 0


def test_the_index_is_the_sum_over_bins_by_hand():
    # Observed 0..9: nine bounds, ten bins of a tenth. Calibration: all in the first two bins.
    observed = np.arange(10.0)
    calibration = np.array([0.0, 0.0, 1.0, 1.0])
    shares = np.maximum([0.5, 0.5, *[0.0] * 8], 1e-4)
    expected = ((shares - 0.1) * np.log(shares / 0.1)).sum()
    assert stability(calibration, observed) == pytest.approx(expected)


def test_a_set_like_the_traffic_and_large_enough_raises_no_doubt():
    x = RANDOM.random((LEAST, 20))
    assert list(doubts({"x": x}, {"x": RANDOM.random((LEAST, 20)).clip(x.min(), x.max())})) == []


def test_a_small_set_is_doubted_with_the_least_number():
    (found,) = doubts({"x": RANDOM.random((LEAST - 1, 4))}, None)
    assert f"{LEAST - 1} samples" in found
    assert f"about {LEAST}" in found


@pytest.mark.parametrize(
    "change", [lambda x: x * 0.5, lambda x: x**4, lambda x: x + 0.5], ids=["darker", "skewed", "moved"]
)
def test_a_set_unlike_the_traffic_is_doubted_with_its_index(change):
    x = RANDOM.random((LEAST, 20))
    found = list(doubts({"x": change(x)}, {"x": x}))
    assert any("input x: the calibration set is unlike the traffic" in text for text in found)


def test_values_that_will_be_clipped_are_told_by_their_share():
    x = np.linspace(0, 1, LEAST)[:, None]
    wider = np.concatenate([x[:-50], np.full((50, 1), 3.0)])
    assert any("10.0% of the observed values lie outside of the calibrated 0…1" in text for text in
               doubts({"x": x}, {"x": wider}))  # fmt: skip
