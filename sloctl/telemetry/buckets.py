"""Bounds of the duration histograms.

The board counts in fine buckets, so that in-process quantiles are good to about 10 %, on round numbers, so
that most SLO thresholds fall on a bound by themselves; the others are added at start. Prometheus gets a
coarse subset, the thresholds always among it.
"""

from collections.abc import Iterable

_STEPS = (1, 1.1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 7.5, 8, 9)
_COARSE = (1, 2.5, 5)
SMALLEST = 1e-5
LARGEST = 100.0
_DECADES = range(-5, 2)  # 10 µs to 100 s


def _grid(steps: Iterable[float]) -> list[float]:
    # Rounding to 3 significant digits makes 0.25 the float that a person writes as 0.25.
    return [float(f"{step * 10.0**decade:.3g}") for decade in _DECADES for step in steps]


def duration_bounds(thresholds: Iterable[float] = ()) -> tuple[float, ...]:
    """Upper bounds in seconds, ascending, every threshold among them."""
    return tuple(sorted({*_grid(_STEPS), LARGEST, *thresholds}))


def exported_bounds(thresholds: Iterable[float] = ()) -> tuple[float, ...]:
    """The subset of `duration_bounds(thresholds)` that exporters show."""
    return tuple(sorted({*(b for b in _grid(_COARSE) if 1e-4 <= b <= 10), *thresholds}))


def in_range(threshold: float) -> bool:
    """Whether a threshold in seconds can be counted at all."""
    return SMALLEST <= threshold <= LARGEST
