"""After a storm of retries: 0.8× of the peak, 4× for a minute, 0.8× again, from clients that try again after refusals.

What is to be seen is whether the daemon comes back by itself once the load is down (a metastable state does not), and
how soon: the share of good answers in the seconds from the fifth on, of the share before the storm. Runs are played
side by side where the accelerator is an emulated one that is slow enough, so that a minute's storm for every seed does
not take all day.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.overload.beds import Bed, pinned
from bench.overload.clients import Clients, Helped, Naive
from bench.overload.goals import Finding, share, table
from bench.overload.goodput import good_share
from bench.overload.nodes import ONCE, OWN, PEERS, Setting, running
from bench.overload.options import Options
from sloctl.load.results import Record, lag
from sloctl.load.schedule import Phase

GOAL = share(95)
_CALM, _AFTER, _SOON = 4.0, 10.0, 5.0
_STUBBORN = Naive(retries=3)


@dataclass(frozen=True)
class Case:
    """A run: its setting, its clients and how they are called, its seed."""

    setting: Setting
    clients: Clients
    name: str
    seed: int


@dataclass(frozen=True)
class Recovery:
    """Shares of good answers before and in the storm, the share five seconds after it, over that before, and from which
    second on it stayed at 95 % of that before.
    """

    case: Case
    before: float
    during: float
    after: float
    since: float
    attempts: int
    lag: float


@dataclass(frozen=True)
class Storms:
    """All runs of a bed."""

    bed: Bed
    seconds: float
    runs: tuple[Recovery, ...]

    def findings(self) -> list[Finding]:
        """Sloctl's own, by the clients' manner."""
        found = []
        for name in dict.fromkeys(run.case.name for run in self.runs if run.case.setting is OWN):
            values = tuple(run.after for run in self.runs if run.case.setting is OWN and run.case.name == name)
            what = f"goodput from {_SOON:g} s after {self.seconds:g} s at 4×, {name}, of that before ({self.bed.name})"
            found.append(Finding(what, GOAL, values))
        return found

    def table(self) -> str:
        """Every run."""
        rows = [
            [
                f"{run.case.setting.name}, {run.case.name}, seed {run.case.seed}",
                f"{run.before:.1%}",
                f"{run.during:.1%}",
                f"{run.after:.1%}",
                f"{run.since:.0f} s" if run.since < _AFTER else "not seen",
                f"{run.attempts}",
                f"{run.lag * 1e3:.0f} ms",
            ]
            for run in self.runs
        ]
        head = ["", "good before", "in the storm", "after 5 s, of before", "back after", "attempts", "driver late, p99"]
        return table(head, rows)


def cases(options: Options, patience: float) -> list[Case]:
    """The daemon as it comes under three naive retries, with our own client, without retries; peers under three."""
    first = options.seeds[0]
    own = [Case(OWN, _STUBBORN, "3 retries", seed) for seed in options.seeds]
    peers = [Case(peer, _STUBBORN, "3 retries", first) for peer in PEERS]
    helped = [Case(OWN, Helped(patience), "sloctl.client", seed) for seed in options.seeds[:2]]
    return [*own, *helped, Case(OWN, ONCE, "no retries", first), *peers]


def measure(bed: Bed, peak: float, seconds: float, todo: Sequence[Case], at_once: int) -> Storms:
    """Plays the cases, so many at a time. `peak` is in requests/s."""
    alone = pinned(bed, bed.variants[0])

    def play(case: Case) -> Recovery:
        phases = [
            Phase("before", _CALM, 0.8 * peak),
            Phase("storm", seconds, 4 * peak),
            Phase("after", _AFTER, 0.8 * peak),
        ]
        with running(alone, case.setting) as node:
            played = node.play(phases, case.seed, case.clients)
        start = _CALM + seconds
        before, during = (good_share(played.of(name), bed.objective) for name in ("before", "storm"))
        late = [record for record in played.of("after") if record.scheduled >= start + _SOON]
        since = _since(played.of("after"), start, 0.95 * before, bed.objective)
        after = good_share(late, bed.objective) / before
        return Recovery(case, before, during, after, since, played.attempts, lag(played.of("storm")))

    with ThreadPoolExecutor(at_once) as pool:
        return Storms(alone, seconds, tuple(pool.map(play, todo)))


def _since(records: Sequence[Record], start: float, least: float, objective: float) -> float:
    """The first second after `start` from which on every second had at least that share of good answers."""
    shares = []
    for second in range(int(_AFTER)):
        inside = [r for r in records if second <= r.scheduled - start < second + 1]
        shares.append(good_share(inside, objective))
    bad = [second for second, found in enumerate(shares) if not found >= least]
    return max(bad) + 1.0 if bad else 0.0
