"""From an engine's fault to the breaker: how many requests fail before it refuses them.

One variant, at 0.8× of its capacity, with the window of examples/digits (40 calls, at least 20): the goal is the
minimum of calls and one batch. With a window that is more than twice the minimum, calls that went well before the fault
hold the failure rate below its threshold for longer. It closes at once, to be whole for the next seed.
"""

import math
import time
from dataclasses import dataclass

from bench.overload.beds import Bed, pinned
from bench.overload.drivers import Stream
from bench.overload.goals import Finding, count
from bench.overload.nodes import MIX, OWN, Node, running
from bench.overload.options import Options
from sloctl.load.schedule import Phase

MINIMUM = 20  # calls
BREAKER = {
    "slidingWindowSize": 2 * MINIMUM,
    "minimumNumberOfCalls": MINIMUM,
    "waitDurationInOpenState": "1s",
    "recloseRamp": "0s",
}
_CALM, _BROKEN, _AFTER = 1.5, 2.0, 3.0


@dataclass(frozen=True)
class Breaking:
    """By seed: failures of requests that came before the first refusal, and seconds from the first failure to it."""

    bed: Bed
    failures: tuple[float, ...]
    seconds: tuple[float, ...]

    def findings(self) -> list[Finding]:
        """Against the minimum of calls and one batch."""
        most = MINIMUM + self.bed.max_batch // self.bed.rows
        return [Finding(f"failed requests until the breaker opens ({self.bed.name})", count(most), self.failures)]

    def table(self) -> str:
        """The seconds that it took."""
        return "From the first failure to the first refusal: " + ", ".join(f"{s * 1e3:.0f} ms" for s in self.seconds)


def measure(bed: Bed, options: Options) -> Breaking:
    """Breaks the engine once a seed."""
    with running(pinned(bed, bed.variants[0]), OWN, breaker=BREAKER) as node:
        found = [_once(node, 0.8 * node.capacity, seed) for seed in options.seeds]
    return Breaking(bed, tuple(failures for failures, _ in found), tuple(seconds for _, seconds in found))


def _once(node: Node, rate: float, seed: int) -> tuple[float, float]:
    """Failures of what came before the breaker's first refusal, and seconds between; NaN where it does not open."""
    phases = [Phase("broken", _CALM + _BROKEN, rate), Phase("after", _AFTER, 0.2 * rate)]
    start, join = node.begin([Stream(phases, MIX)], seed)
    time.sleep(max(start + _CALM - time.monotonic(), 0.0))
    node.inject("error")
    time.sleep(_BROKEN)
    node.inject()
    records = sorted(join().records, key=lambda record: record.finished)
    opened = next((r.finished for r in records if r.reason == "breaker_open"), math.nan)
    failed = [r.finished for r in records if r.status == 500 and r.scheduled <= opened]  # also what was in hand then
    return (float(len(failed)), opened - failed[0]) if failed else (math.nan, math.nan)
