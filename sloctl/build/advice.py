"""Which batch size a variant should run at: the most rows a second within a latency objective and a memory budget,
and of those that come within 5 % of it the smallest.

A request that comes just after a batch has started waits for that batch and then for its own, so its worst latency is
twice a batch's: 2·ℓ(b), with ℓ the 99th percentile where it was measured (Shen et al., Nexus, SOSP 2019, choose the
largest b with 2·ℓ(b) within the objective). A request that waits to fill a batch (`batchWait`) waits that much longer.
Beyond its capacity b/ℓ(b) no queue is bounded, and no batch size helps.

Memory: what a variant takes is measured at its largest batch. The weights (the file's size) stay, the rest is taken to
grow with the batch, so that memory(b) = weights + (measured − weights)·b/largest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sloctl.engines.manifest import Manifest

WORTH = 0.05
"""A larger batch must bring this share more: less is within the noise of measuring, and its requests wait longer."""


@dataclass(frozen=True, slots=True)
class Point:
    """A batch size: seconds of a batch (median, 99th percentile), of a request at worst, rows a second, bytes."""

    batch: int
    p50: float
    p99: float
    latency: float
    throughput: float
    memory: float

    def fits(self, objective: float, budget: float | None) -> bool:
        """Whether latency and memory stay within objective (seconds) and budget (bytes; None: any)."""
        return self.latency <= objective and (budget is None or self.memory <= budget)


@dataclass(frozen=True, slots=True)
class Advice:
    """A variant's points in ascending batch size, and the best of them; None where none fits."""

    variant: str
    points: Sequence[Point]
    best: Point | None


def advise(variant: str, manifest: Manifest, *, objective: float, budget: float | None, wait: float = 0.0) -> Advice:
    """The smallest of the best batch sizes; objective and batch wait are in seconds, the budget in bytes."""
    found = points(manifest, wait)
    fitting = [point for point in found if point.fits(objective, budget)]
    most = max((point.throughput for point in fitting), default=0.0)
    best = next((point for point in fitting if point.throughput >= (1 - WORTH) * most), None)
    return Advice(variant, found, best)


def points(manifest: Manifest, wait: float = 0.0) -> list[Point]:
    """Every batch size that was measured, in ascending order."""
    found = []
    for size, p50 in sorted(manifest.latency_seconds.items()):
        p99 = manifest.latency_p99_seconds.get(size, p50)
        found.append(Point(size, p50, p99, wait + 2 * p99, size / p50, memory(manifest, size)))
    return found


def memory(manifest: Manifest, batch: int) -> float:
    """Bytes that the variant takes at a batch size, by the model above."""
    measured = manifest.memory_bytes or 0
    weights = min(manifest.size, measured)
    return weights + (measured - weights) * min(1.0, batch / manifest.max_batch)
