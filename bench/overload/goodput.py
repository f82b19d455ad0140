"""Goodput at a fixed precision, against its own peak, at 1×, 2×, 4× and 10× the load that it carries.

Good is what is answered within the objective, counted from the scheduled moment; goodput is good answers that come
within a load's time, over that time, so that no work of before or after it counts. Each load follows half a second at
0.8×, which fills the pipeline, and its beginning counts: that is where queues are made.

The peak is the highest goodput of a ramp with the same drivers in the same run, in any of the settings: it belongs to
the precision and not to the way it is run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.overload.beds import CLASSES, Bed, pinned
from bench.overload.drivers import Played
from bench.overload.goals import Finding, share, table, within
from bench.overload.nodes import OWN, PEERS, Node, Setting, running
from bench.overload.options import Options
from sloctl.load.results import Record, lag, quantile
from sloctl.load.schedule import Phase

TIMES = (1, 2, 4, 10)
RAMP = (1.0, 1.15, 1.3)
GOALS = {2: share(97), 4: share(95), 10: share(90)}
SHED_WITHIN = within(0.1)
_FILL = 0.5  # seconds before each load, at 0.8×


@dataclass
class Cell:
    """What one setting made of one load, by seed."""

    goodput: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)  # share of the highest class that was good
    p99: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)  # seconds from the rise to the first refusal
    lag: list[float] = field(default_factory=list)


@dataclass
class Fixed:
    """All of one precision: its peak in requests/s, and cells by setting and multiple of the load."""

    bed: Bed
    peak: float
    cells: dict[str, dict[int, Cell]]

    @property
    def own(self) -> dict[int, Cell]:
        """Sloctl's."""
        return self.cells[OWN.name]

    def findings(self) -> list[Finding]:
        """Each load against its goal, and the time until the first refusal."""
        where = f"{self.bed.name}, {self.bed.variants[0]}"
        found = [
            Finding(f"goodput at {times}×, of the peak ({where})", goal, tuple(g / self.peak for g in own.goodput))
            for times, goal in GOALS.items()
            if (own := self.own.get(times))
        ]
        first = tuple(self.own[max(self.own)].refused)
        return [*found, Finding(f"from a rise to {max(self.own)}× to the first refusal ({where})", SHED_WITHIN, first)]

    def table(self) -> str:
        """Goodput of the peak in each setting: the worst seed, p99 of the answers, the highest class."""
        rows = [
            [f"{times}×", *(_shown(found[times], self.peak) for found in self.cells.values())]
            for times in next(iter(self.cells.values()))
        ]
        return table(["load", *self.cells], rows)


def _shown(cell: Cell, peak: float) -> str:
    """`97 to 99 % (high 100 %, p99 201 ms; driver 3 ms late)`."""
    low, most = min(cell.goodput) / peak, max(cell.goodput) / peak
    part = f"{low:.1%}" if len(cell.goodput) == 1 else f"{low:.1%} to {most:.1%}"
    late = f"driver {max(cell.lag) * 1e3:.0f} ms late"
    return f"{part} (high {min(cell.high):.1%}, p99 {max(cell.p99) * 1e3:.0f} ms; {late})"


def goodput(records: Sequence[Record], span: tuple[float, float], objective: float) -> float:
    """Good answers a second that came within a span of the schedule."""
    start, end = span
    good = sum(r.status == 200 and r.latency <= objective and start < r.finished <= end for r in records)
    return good / (end - start)


def good_share(records: Sequence[Record], objective: float) -> float:
    """Good answers of what was offered; NaN of nothing."""
    return sum(r.status == 200 and r.latency <= objective for r in records) / len(records) if records else math.nan


def spans(phases: Sequence[Phase]) -> dict[str, tuple[float, float]]:
    """From when to when each phase lasts."""
    found, at = {}, 0.0
    for phase in phases:
        found[phase.name] = at, at + phase.seconds
        at += phase.seconds
    return found


def peak_of(node: Node, seconds: float) -> float:
    """The highest goodput of a ramp about the capacity that the daemon tells of."""
    phases = [Phase(f"{part:g}", seconds, part * node.capacity) for part in RAMP]
    played = node.play(phases, seed=99)
    objective = node.bed.objective
    return max(goodput(played.records, span, objective) for span in spans(phases).values())


def loads(peak: float, seconds: float, quiet: float, times: Sequence[int]) -> list[Phase]:
    """Each multiple of the peak, after half a second at 0.8× and with a quiet end, in which clients give up."""
    found = []
    for each in times:
        found += [Phase(f"fill {each}×", _FILL, 0.8 * peak), Phase(f"{each}×", seconds, each * peak)]
        found.append(Phase(f"quiet {each}×", quiet, 0.0))
    return found


def measure(
    bed: Bed, options: Options, settings: Sequence[Setting] = (OWN, *PEERS), times: Sequence[int] = TIMES
) -> Fixed:
    """The bed's first variant alone, in each setting; peers with one seed."""
    alone = pinned(bed, bed.variants[0])
    base = peak = 0.0  # what the loads are multiples of is the same in all settings
    cells = dict[str, dict[int, Cell]]()
    for setting in settings:
        seeds = options.seeds if setting is OWN else options.seeds[:1]
        with running(alone, setting) as node:
            ramped = peak_of(node, options.ramp)
            base, peak = base or ramped, max(peak, ramped)
            phases = loads(base, options.seconds, node.drain, times)
            cells[setting.name] = _cells([node.play(phases, seed) for seed in seeds], phases, bed.objective, times)
    return Fixed(alone, peak, cells)


def _cells(
    played: Sequence[Played], phases: Sequence[Phase], objective: float, times: Sequence[int]
) -> dict[int, Cell]:
    where, cells = spans(phases), {each: Cell() for each in times}
    for each, cell in cells.items():
        start, end = where[f"{each}×"]
        for found in played:
            records = found.of(f"{each}×")
            refused = [record.finished for record in records if record.status in {429, 503}]
            cell.goodput.append(goodput(found.records, (start, end), objective))
            cell.high.append(good_share([r for r in records if r.priority == CLASSES[0]], objective))
            cell.p99.append(quantile([r.latency for r in records if r.status == 200], 0.99))
            cell.refused.append(min(refused, default=math.nan) - start)
            cell.lag.append(lag(records))
    return cells
