"""Whether a calibration set can be trusted: large enough, and like what the model will see.

Likeness is the population stability index over the deciles of the observed values,
PSI = Σ (cᵢ − oᵢ)·ln(cᵢ/oᵢ) with the shares c of calibration and o of observed values in each bin; above 0.25 the
distributions differ significantly (Siddiqi, Credit Risk Scorecards, 2006; it is Jeffreys' divergence of the bins).
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from sloctl.engines.base import Tensor

Values = NDArray[np.float64]

LEAST = 500
"""Samples; NVIDIA's TensorRT guide finds about 500 images sufficient for classifiers of ImageNet."""

DIFFERENT = 0.25
OUTSIDE = 0.001  # share of observed values beyond the calibration's range, which will be clipped
_FLOOR = 1e-4  # share of an empty bin, so that its logarithm is finite
_MOST = 1_000_000  # values of a tensor that are looked at


def stability(calibration: Values, observed: Values) -> float:
    """The population stability index of two samples of one input, over at most ten bins; 0 for like ones."""
    bounds = np.unique(np.quantile(observed, np.linspace(0, 1, 11)[1:-1]))
    c, o = (
        np.maximum(np.bincount(np.searchsorted(bounds, each), minlength=len(bounds) + 1) / each.size, _FLOOR)
        for each in (calibration, observed)
    )
    return float(((c - o) * np.log(c / o)).sum())


def doubts(calibration: Mapping[str, Tensor], observed: Mapping[str, Tensor] | None) -> Iterator[str]:
    """What is to be said against a calibration set, held against observed inputs where there are any."""
    samples = len(next(iter(calibration.values())))
    if samples < LEAST:
        yield f"the calibration set has {samples} samples; from about {LEAST} on, more change little"
    for name, values in calibration.items():
        if observed and name in observed:
            yield from _unlike(name, _values(values), _values(observed[name]))


def _unlike(name: str, calibration: Values, observed: Values) -> Iterator[str]:
    index = stability(calibration, observed)
    if index > DIFFERENT:
        yield (
            f"input {name}: the calibration set is unlike the traffic (population stability index {index:.2f}, "
            f"significant above {DIFFERENT})"
        )
    low, high = calibration.min(), calibration.max()
    outside = float(((observed < low) | (observed > high)).mean())
    if outside > OUTSIDE:
        yield f"input {name}: {outside:.1%} of the observed values lie outside of the calibrated {low:.3g}…{high:.3g}"


def _values(tensor: Tensor) -> Values:
    """At most a million values, evenly spread."""
    flat = tensor.ravel()
    return flat[:: max(1, flat.size // _MOST)].astype(np.float64)
