"""A switch of variant under load, ordered by hand, back and forth: what fails, and what the requests near it feel.

At 0.6× of what the most accurate variant carries. The moment of a switch is the first answer by the variant that was
ordered. Answers to what the other one was still computing may come after it, where a faster variant overtakes: they
are no switches back. How many the daemon made is its own count.

Near a switch is what was asked for within half a second of it. What got no result counts against the switch if it was
asked for within the objective of it: so long does anything wait. Where one request fills a batch, arrivals that bunch
are refused now and then at 0.6× without any switch; these are told beside.
"""

import math
import time
from collections.abc import Sequence
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
_MADE = "sloctl_variant_switches_total"


@dataclass(frozen=True)
class Handover:
    """By seed: requests without a result about switches and otherwise; p99 near switches and away from them in seconds;
    switches that the daemon made.
    """

    bed: Bed
    batch: float  # seconds of the most accurate variant's largest batch
    failed: tuple[float, ...]
    refused: tuple[int, ...]
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
            f"{near * 1e3:.0f} ms near {made} switches, {calm * 1e3:.0f} ms away, where {refused} got no result"
            for near, calm, made, refused in zip(self.near, self.calm, self.switches, self.refused, strict=True)
        ]
        return f"p99: {'; '.join(parts)}; a batch of {self.bed.variants[0]} takes {self.batch * 1e3:.0f} ms"


def measure(bed: Bed, options: Options) -> Handover:
    """Back and forth once a seed."""
    with running(bed, OWN) as node:
        peak = node.capacity
        found = [_once(node, 0.6 * peak, seed) for seed in options.seeds]
    failed, refused, near, calm, switches = zip(*found, strict=True)
    return Handover(bed, bed.max_batch / bed.rows / peak, failed, refused, near, calm, switches)


def _once(node: Node, rate: float, seed: int) -> tuple[float, int, float, float, int]:
    first, last = node.bed.variants[0], node.bed.variants[-1]
    node.order(first, 1)
    node.wait_for(first)
    before = node.daemon.metric(_MADE)
    seconds = _EACH * (_SWITCHES + 1)
    start, join = node.begin([Stream([Phase("load", seconds, rate), Phase("end", 0.5, 0.0)], MIX)], seed)
    orders = []
    for number in range(_SWITCHES):
        time.sleep(max(start + _EACH * (number + 1) - time.monotonic(), 0.0))
        orders.append((time.monotonic() - start, first if number % 2 else last))
        node.order(orders[-1][1], 60)
    records = join().records
    at = switched(records, orders)
    lost = [r.scheduled for r in records if r.status != 200]
    failed = sum(any(abs(when - moment) <= node.bed.objective for moment in at) for when in lost)
    near = [r.latency for r in records if r.status == 200 and any(abs(r.scheduled - moment) <= _NEAR for moment in at)]
    calm = [
        r.latency
        for r in records
        if r.status == 200 and r.variant == first and all(abs(r.scheduled - moment) > _NEAR for moment in at)
    ]
    made = int(node.daemon.metric(_MADE) - before)
    p99 = quantile(near, 0.99), quantile(calm, 0.99) if calm else math.nan
    return float(failed) if len(at) == _SWITCHES else math.nan, len(lost) - failed, *p99, made


def switched(records: Sequence[Record], orders: Sequence[tuple[float, str]]) -> list[float]:
    """When the first answer by each variant came that was ordered, of orders as moments and variants."""
    firsts = []
    for moment, variant in orders:
        came = [r.finished for r in records if r.status == 200 and r.variant == variant and r.scheduled >= moment]
        firsts.append(min(came, default=math.nan))
    return [first for first in firsts if not math.isnan(first)]
