"""Goodput with precision switching, against each precision pinned; and how soon a switch helps.

The load is what the fastest variant just does not carry. The goal is a share of what the measured peaks promise: pinned
to the most accurate variant there is its goodput under that load; with switching there should be so many times more as
the fastest variant's peak is above the most accurate one's. The time until the switch counts.
"""

import math
from dataclasses import dataclass

from bench.overload.beds import Bed, pinned
from bench.overload.drivers import Played
from bench.overload.goals import Finding, share, table, within
from bench.overload.goodput import good_share, goodput, peak_of, spans
from bench.overload.nodes import OWN, STEERED, Node, running
from bench.overload.options import Options
from sloctl.load.results import quantile
from sloctl.load.schedule import Phase

ABOVE = 1.2  # of the fastest variant's peak
GOAL = share(90)
SWITCH_WITHIN = within(1.0)
_LEAD = 1.0  # seconds at half of the variant's peak
_SETTLED = 7.0  # seconds of that for the planner, whose past is to be a calm one: its window, and what a reading covers


@dataclass(frozen=True)
class Switched:
    """Peaks in requests/s and goodputs by variant pinned, most accurate first; with switching by seed."""

    bed: Bed
    peaks: dict[str, float]
    pinned: dict[str, float]
    steered: tuple[float, ...]
    after: tuple[float, ...]  # seconds from the rise to the first answer of another variant
    shares: dict[str, tuple[float, float]]  # of what was offered, and p99, by row

    @property
    def promised(self) -> float:
        """How many times more the fastest variant carries."""
        return max(self.peaks.values()) / self.peaks[self.bed.variants[0]]

    def findings(self) -> list[Finding]:
        """The share of the promised goodput, and the time until the switch."""
        accurate = self.pinned[self.bed.variants[0]]
        gained = tuple(each / accurate / self.promised if accurate else math.inf for each in self.steered)
        ratio = f"{self.promised:.2f} times"
        return [
            Finding(
                f"goodput with switching, of {ratio} the pinned {self.bed.variants[0]} ({self.bed.name})", GOAL, gained
            ),
            Finding(
                f"from a rise in load to an answer by another variant ({self.bed.name})", SWITCH_WITHIN, self.after
            ),
        ]

    def table(self) -> str:
        """Goodput and p99 by row."""
        rows = []
        for name, each in self.pinned.items():
            rows.append([f"{name} pinned", f"{self.peaks[name]:.0f}/s", f"{each:.0f}/s", *_cells(self.shares[name])])
        for number, each in enumerate(self.steered, start=1):
            cells = _cells(self.shares[f"seed {number}"])
            rows.append([f"switching, seed {number}", "", f"{each:.0f}/s", *cells])
        return table(["", "peak", "goodput", "of offered", "p99"], rows)


def _cells(found: tuple[float, float]) -> tuple[str, str]:
    return f"{found[0]:.1%}", f"{found[1] * 1e3:.0f} ms"


def measure(bed: Bed, options: Options) -> Switched:
    """Every variant pinned with one seed, then all of them with the planner, with every seed."""
    peaks, pins, shares = dict[str, float](), dict[str, float](), dict[str, tuple[float, float]]()
    for variant in reversed(bed.variants):  # the fastest first: its peak gives the load
        with running(pinned(bed, variant), OWN) as node:
            peaks[variant] = peak_of(node, options.ramp)
            lead = Phase("lead", _LEAD, 0.5 * peaks[variant])
            played, span = _load(node, lead, max(peaks.values()), options.seconds, options.seeds[0])
            pins[variant], shares[variant] = _result(played, span, bed.objective)
    steered, after = [], []
    with running(bed, STEERED) as node:
        for number, seed in enumerate(options.seeds, start=1):
            node.wait_for(bed.variants[0])
            lead = Phase("lead", _SETTLED, 0.5 * peaks[bed.variants[0]])
            played, span = _load(node, lead, max(peaks.values()), options.seconds, seed)
            found, shares[f"seed {number}"] = _result(played, span, bed.objective)
            steered.append(found)
            other = [r.finished for r in played.of("rise") if r.variant not in {None, bed.variants[0]}]
            after.append(min(other, default=math.nan) - span[0])
    order = {variant: peaks[variant] for variant in bed.variants}
    return Switched(bed, order, {name: pins[name] for name in order}, tuple(steered), tuple(after), shares)


def _load(node: Node, lead: Phase, fastest: float, seconds: float, seed: int) -> tuple[Played, tuple[float, float]]:
    """What became of a rise to more than the fastest variant's peak, and from when to when it lasted."""
    phases = [lead, Phase("rise", 2 * seconds, ABOVE * fastest), Phase("quiet", node.drain, 0.0)]
    return node.play(phases, seed), spans(phases)["rise"]


def _result(played: Played, span: tuple[float, float], objective: float) -> tuple[float, tuple[float, float]]:
    records = played.of("rise")
    p99 = quantile([record.latency for record in records if record.status == 200], 0.99)
    return goodput(played.records, span, objective), (good_share(records, objective), p99)
