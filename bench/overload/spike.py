"""The highest class during a twelve-fold spike of the lowest.

Before it each of the two asks for a quarter of the capacity; then the lowest asks for twelve times as much, and both
together for more than three times what the variant carries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.overload.beds import CLASSES, Bed, pinned
from bench.overload.drivers import Stream
from bench.overload.goals import Finding, share, table
from bench.overload.goodput import good_share
from bench.overload.nodes import OWN, PEERS, Node, Setting, running
from bench.overload.options import Options
from sloctl.load.results import quantile
from sloctl.load.schedule import Phase

GOAL = share(99.4)
TIMES = 12
_EACH = 0.25  # of the capacity, before the spike
_HIGH, _LOW = CLASSES[0], CLASSES[-1]


@dataclass(frozen=True)
class Spike:
    """Good shares of the highest and the lowest class and p99 of the highest, by setting and seed."""

    bed: Bed
    found: dict[str, tuple[tuple[float, float, float], ...]]

    def findings(self) -> list[Finding]:
        """The highest class's share."""
        values = tuple(high for high, _, _ in self.found[OWN.name])
        return [
            Finding(
                f"high priority within the objective in a {TIMES}-fold spike of low ({self.bed.name})", GOAL, values
            )
        ]

    def table(self) -> str:
        """Each setting's worst seed."""
        rows = []
        for name, seeds in self.found.items():
            high, low, p99 = min(seeds)
            rows.append([name, f"{high:.2%}", f"{low:.1%}", f"{p99 * 1e3:.0f} ms"])
        return table(["", f"{_HIGH} within the objective", f"{_LOW}", f"p99 of {_HIGH}"], rows)


def measure(bed: Bed, options: Options, settings: Sequence[Setting] = (OWN, *PEERS)) -> Spike:
    """The bed's first variant alone, in each setting; peers with one seed."""
    found, capacity = dict[str, tuple[tuple[float, float, float], ...]](), 0.0
    for setting in settings:
        seeds = options.seeds if setting is OWN else options.seeds[:1]
        with running(pinned(bed, bed.variants[0]), setting) as node:
            capacity = capacity or node.capacity
            found[setting.name] = tuple(_once(node, capacity, options.seconds, seed) for seed in seeds)
    return Spike(bed, found)


def _once(node: Node, capacity: float, seconds: float, seed: int) -> tuple[float, float, float]:
    """Shares of the highest and the lowest class, and p99 of the highest, of one seed."""
    rate = _EACH * capacity
    calm, spike, quiet = 1.0, 1.5 * seconds, node.drain

    def stream(name: str, times: int) -> Stream:
        phases = [Phase("calm", calm, rate), Phase("spike", spike, times * rate), Phase("quiet", quiet, 0.0)]
        return Stream(phases, {name: 1.0})

    records = node.begin([stream(_LOW, TIMES), stream(_HIGH, 1)], seed)[1]().of("spike")
    high, low = ([r for r in records if r.priority == name] for name in (_HIGH, _LOW))
    p99 = quantile([r.latency for r in high if r.status == 200], 0.99)
    return good_share(high, node.bed.objective), good_share(low, node.bed.objective), p99
