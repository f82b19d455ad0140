"""A switch of variant under load, ordered by hand, back and forth: what fails, and what the requests near it feel.

At 0.6× of what the most accurate variant carries. Near a switch is what was asked for within half a second of the first
answer by the new variant.
"""

import math
import time
from dataclasses import dataclass

from bench.overload.beds import Bed
from bench.overload.drivers import Stream
from bench.overload.goals import Finding, Goal, count
from bench.overload.nodes import MIX, OWN, Node, running
from bench.overload.options import Options
from sloctl.load.results import Record, quantile
from sloctl.load.schedule import Phase

_EACH = 1.5  # seconds that a variant serves
_SWITCHES = 4
_NEAR = 0.5  # seconds


@dataclass(frozen=True)
class Handover:
    """By seed: requests that were not answered with a result, and p99 near switches and away from them in seconds."""

    bed: Bed
    batch: float  # seconds of the most accurate variant's largest batch
    failed: tuple[float, ...]
    near: tuple[float, ...]
    calm: tuple[float, ...]
    switches: tuple[int, ...]

    def findings(self) -> list[Finding]:
        """Failures, and by how much p99 rose, in batches."""
        name = f"{_SWITCHES} switches ({self.bed.name})"
        rise = tuple((near - calm) / self.batch for near, calm in zip(self.near, self.calm, strict=True))
        return [
            Finding(f"failed requests in {name}", count(0), self.failed),
            Finding(
                f"p99 near {name} above p99 of {self.bed.variants[0]} away from them", Goal(1.0, unit="batches"), rise
            ),
        ]

    def table(self) -> str:
        """The quantiles."""
        parts = [
            f"{near * 1e3:.0f} ms near {seen} switches, {calm * 1e3:.0f} ms away"
            for near, calm, seen in zip(self.near, self.calm, self.switches, strict=True)
        ]
        return f"p99: {'; '.join(parts)}; a batch of {self.bed.variants[0]} takes {self.batch * 1e3:.0f} ms"


def measure(bed: Bed, options: Options) -> Handover:
    """Back and forth once a seed."""
    with running(bed, OWN) as node:
        peak = node.capacity
        found = [_once(node, 0.6 * peak, seed) for seed in options.seeds]
    failed, near, calm, switches = zip(*found, strict=True)
    return Handover(bed, bed.max_batch / bed.rows / peak, failed, near, calm, switches)


def _once(node: Node, rate: float, seed: int) -> tuple[float, float, float, int]:
    first, last = node.bed.variants[0], node.bed.variants[-1]
    node.order(first, 1)
    node.wait_for(first)
    seconds = _EACH * (_SWITCHES + 1)
    start, join = node.begin([Stream([Phase("load", seconds, rate), Phase("end", 0.5, 0.0)], MIX)], seed)
    for number in range(_SWITCHES):
        time.sleep(max(start + _EACH * (number + 1) - time.monotonic(), 0.0))
        node.order(first if number % 2 else last, 60)
    records = join().records
    at = _switches(records, first)
    near = [r.latency for r in records if r.status == 200 and any(abs(r.scheduled - moment) <= _NEAR for moment in at)]
    calm = [
        r.latency
        for r in records
        if r.status == 200 and r.variant == first and all(abs(r.scheduled - moment) > _NEAR for moment in at)
    ]
    failed = sum(record.status != 200 for record in records)
    return float(failed), quantile(near, 0.99), quantile(calm, 0.99) if calm else math.nan, len(at)


def _switches(records: list[Record], first: str) -> list[float]:
    """When the first answers of each new variant came."""
    serving, found = first, []
    for record in sorted((r for r in records if r.status == 200), key=lambda record: record.finished):
        if record.variant not in {serving, None}:
            serving = str(record.variant)
            found.append(record.finished)
    return found
