"""Layers whose time drifts from their own baseline. Pure: it is fed samples and knows no clock.

A layer's baseline is the median of its last samples that were not drifting, its spread their median absolute
deviation (MAD), scaled by 1.4826 to be a standard deviation where times are normal (Rousseeuw and Croux, "Alternatives
to the Median Absolute Deviation", 1993). A layer drifts while the median of its last three samples lies more than five
such deviations from the baseline and at least a tenth of it away, in either direction: one odd sample is no drift, and
a layer that hardly varies may vary a little.
"""

from collections import deque
from dataclasses import dataclass, field
from statistics import median

WARM_UP = 10  # samples before there is a baseline
_KEPT = 100
_RECENT = 3
_SCALE = 1.4826
_DEVIATIONS = 5.0
_LEAST = 0.1  # of the baseline


@dataclass(slots=True)
class LayerDrift:
    """One layer's baseline and latest samples, in seconds. It takes about a kilobyte."""

    _baseline: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    drifting: bool = False
    ratio: float = float("nan")  # recent over baseline; NaN before there is one

    def add(self, seconds: float) -> None:
        """Takes a sample; the baseline learns from it only once it has left the latest ones, and did not drift."""
        if len(self._recent) == _RECENT and not self.drifting:
            self._baseline.append(self._recent[0])
        self._recent.append(seconds)
        if len(self._baseline) < WARM_UP:
            return
        middle, latest = median(self._baseline), median(self._recent)
        spread = _SCALE * median(abs(value - middle) for value in self._baseline)
        self.drifting = abs(latest - middle) > max(_DEVIATIONS * spread, _LEAST * middle)
        self.ratio = latest / middle if middle > 0 else 1.0


@dataclass
class VariantDrift:
    """The layers of one variant, fed from their counts and sums on the board."""

    layers: dict[str, LayerDrift] = field(default_factory=dict)
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def update(self, readings: dict[str, tuple[int, float]]) -> None:
        """`readings` are each layer's count and sum; what came since the last ones is one sample, its mean."""
        if any(readings[name][0] < count for name, (count, _) in self._seen.items() if name in readings):
            self.layers, self._seen = {}, {}  # another engine stands there now
        for name, (count, total) in readings.items():
            before, sum_before = self._seen.get(name, (0, 0.0))
            if count > before:
                self.layers.setdefault(name, LayerDrift()).add((total - sum_before) / (count - before))
        self._seen = readings

    @property
    def worst(self) -> float:
        """The ratio furthest from 1 among the layers that drift, 1 if none does, NaN before there is a baseline."""
        known = [layer for layer in self.layers.values() if layer.ratio == layer.ratio]
        drifting = [layer.ratio for layer in known if layer.drifting]
        return max(drifting, key=_distance, default=1.0) if known else float("nan")

    def of(self, layer: str) -> float:
        """One layer's ratio, 1 while it does not drift, NaN before there is a baseline."""
        found = self.layers.get(layer)
        return (found.ratio if found.drifting or found.ratio != found.ratio else 1.0) if found else float("nan")


def _distance(ratio: float) -> float:
    return max(ratio, 1 / ratio) if ratio > 0 else float("inf")
