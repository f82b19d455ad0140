"""What the control plane knows of layers: their drift, and their sums at earlier times, to compare with."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sloctl.board import LayerReading, Snapshot
from sloctl.board.topology import Topology
from sloctl.control.drift import VariantDrift

_EVERY = (60.0, 3600.0)  # seconds between two kept sums
_KEPT = (120, 168)  # two hours by the minute, a week by the hour
Sums = dict[tuple[str, str], dict[str, tuple[int, float]]]


@dataclass(slots=True)
class _Ring:
    """Sums kept at one spacing."""

    every: float
    kept: deque[tuple[float, Sums]]

    def add(self, now: float, sums: Sums) -> None:
        if not self.kept or now - self.kept[-1][0] >= self.every:
            self.kept.append((now, sums))


@dataclass
class Layers:
    """Fed a snapshot a second. Earlier sums live as long as the control plane's process."""

    topology: Topology
    drift: dict[tuple[str, str], VariantDrift] = field(default_factory=dict)
    last: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)  # seconds in the last profile, by layer
    _sums: Sums = field(default_factory=dict)
    _rings: list[_Ring] = field(
        default_factory=lambda: [_Ring(every, deque(maxlen=kept)) for every, kept in zip(_EVERY, _KEPT, strict=True)]
    )

    def __post_init__(self) -> None:
        """A drift for every variant."""
        for model in self.topology.models:
            for variant in model.variants:
                self.drift[model.name, variant] = VariantDrift()

    def update(self, now: float, snapshot: Snapshot) -> None:
        """Takes what was profiled since the last time; `now` in monotonic seconds."""
        sums: Sums = {}
        for key, drift in self.drift.items():
            sums[key] = {layer.name: (layer.count, layer.total) for layer in snapshot.layers(*key)}
            drift.update(sums[key])
            self._take_last(key, sums[key])
        for ring in self._rings:
            ring.add(now, sums)

    def _take_last(self, key: tuple[str, str], sums: dict[str, tuple[int, float]]) -> None:
        """Means of what has come in since; layers of another engine begin anew."""
        known, last = self._sums.get(key, {}), self.last.setdefault(key, {})
        for layer in last.keys() - sums.keys():
            del last[layer]
        for layer, (count, total) in sums.items():
            before = known.get(layer, (0, 0.0))
            since, spent = (count, total) if count < before[0] else (count - before[0], total - before[1])
            if since:
                last[layer] = spent / since
        self._sums[key] = sums

    def before(self, now: float, ago: float) -> Sums:
        """The sums as they were `ago` seconds before `now`: the latest that are kept of that time; else none."""
        earlier = [kept for ring in self._rings for kept in ring.kept if kept[0] <= now - ago]
        return max(earlier, key=lambda kept: kept[0])[1] if earlier else {}

    def describe(self, key: tuple[str, str], readings: list[LayerReading], earlier: Sums) -> list[dict[str, Any]]:
        """The layers of a variant for JSON, in execution order: since `earlier`, and before that."""
        known = earlier.get(key, {})
        drift = self.drift[key]
        return [_described(layer, known.get(layer.name, (0, 0.0)), drift) for layer in readings if layer.count]


def _described(layer: LayerReading, earlier: tuple[int, float], drift: VariantDrift) -> dict[str, Any]:
    if layer.count < earlier[0]:  # those were another engine's
        earlier = (0, 0.0)
    count, total = layer.count - earlier[0], layer.total - earlier[1]
    found = drift.layers.get(layer.name)
    ratio = found.ratio if found and found.ratio == found.ratio else None
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "nodes": list(layer.nodes),
        "meanSeconds": total / count if count else None,
        "samples": count,
        "meanSecondsBefore": earlier[1] / earlier[0] if earlier[0] else None,
        "samplesBefore": earlier[0],
        "driftRatio": ratio,
        "drifting": bool(found and found.drifting),
    }


def drift_samples(layers: Mapping[tuple[str, str], VariantDrift]) -> list[tuple[tuple[str, ...], float]]:
    """Each layer's ratio with its labels model, variant, layer; only layers with a baseline."""
    return [
        ((model, variant, name), layer.ratio)
        for (model, variant), drift in layers.items()
        for name, layer in drift.layers.items()
        if layer.ratio == layer.ratio
    ]
