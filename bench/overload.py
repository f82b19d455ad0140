"""Goodput at one, two and four times fp32's capacity: `python -m bench.overload [FOLDER]`.

The digits model with the controller, without it (fp32 for ever), and without it on int8; the same open-loop
schedule for all three, with quiet stretches between the loads so that the controller comes back to fp32. Load,
daemon and model share this machine's cores. FOLDER keeps models and logs (default `.demo/bench`).
"""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sloctl.cli._digits import evaluation, prepare
from sloctl.cli.demo_daemon import write_run
from sloctl.cli.demo_plan import Scenario
from sloctl.cli.demo_run import Run, View, measure
from sloctl.config.resources import resource
from sloctl.load.results import Record, Summary, by_phase, first_bad_second, lag
from sloctl.load.schedule import Phase, Schedule

TIMES = (1, 2, 4)
SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
QUIET = 11.0  # seconds; longer than the policy's cooldown and its wait before a step up
QUIET_RATE = 0.3  # of fp32's capacity
IMAGES = 16


@dataclass(frozen=True)
class Setting:
    """One way to run the daemon."""

    name: str
    controller: bool
    change: Callable[[dict[str, Any]], None] = lambda _: None


def _on_int8(daemon: dict[str, Any]) -> None:
    daemon["models"][0]["variants"] = ["int8", "fp32"]  # the first serves
    daemon["policies"] = []  # whose ladder would no longer fit


SETTINGS = (Setting("controller", True), Setting("fp32 alone", False), Setting("int8 alone", False, _on_int8))


def phases(fp32: float) -> tuple[Phase, ...]:
    """Loads of a growing multiple of `fp32` requests/s, each after a quiet stretch."""
    found = []
    for times in TIMES:
        found += [Phase(f"before {times}×", QUIET, QUIET_RATE * fp32), Phase(f"{times}×", SECONDS, times * fp32)]
    return tuple(found)


async def run(folder: Path) -> dict[str, Run]:
    source, repository = resource("examples/digits"), folder / "repository"
    prepare(repository, source, lambda message: print(f"▸ {message}", file=sys.stderr))
    images = np.asarray(evaluation(source).inputs["image"][:IMAGES], np.float32)
    runs: dict[str, Run] = {}

    def plan(scenario: Scenario, capacities: dict[str, float]) -> Schedule:
        first = next(iter(runs.values()), None)
        return first.schedule if first else scenario.schedule(phases(capacities["fp32"]))

    def show(_: View) -> None:
        pass

    for setting in SETTINGS:
        print(f"▸ {setting.name}", file=sys.stderr)
        config = write_run(folder / setting.name.replace(" ", "-"), source, repository, controller=setting.controller)
        daemon = yaml.load(config.read_text(), Loader=yaml.CSafeLoader)
        setting.change(daemon)
        config.write_text(yaml.safe_dump(daemon, sort_keys=False))
        runs[setting.name] = await measure(config, images, plan, show, controller=setting.controller)
    return runs


def table(runs: dict[str, Run]) -> str:
    """Goodput in requests/s by load, with the share of all and of the highest class that was good."""
    first = next(iter(runs.values()))
    sums = {name: by_phase(found.records, found.schedule, found.scenario.objective) for name, found in runs.items()}
    highest = first.scenario.priorities[0]
    lines = ["| load | offered/s | " + " | ".join(runs) + " |", "|---" * (len(runs) + 2) + "|"]
    for phase in (f"{times}×" for times in TIMES):
        offered = sums[next(iter(runs))][phase].offered / SECONDS
        cells = [_cell(found[phase], highest) for found in sums.values()]
        lines.append(f"| {phase} | {offered:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(found: Summary, highest: str) -> str:
    shares = f"{found.good / found.offered:.0%}, {highest} {found.good_share[highest]:.0%}"
    return f"{found.goodput:.0f}/s ({shares}, p99 {found.p99 * 1e3:.0f} ms)"


def reaction(found: Run, phase: str) -> str:
    """From the first bad second of a load to the step down."""
    start, end = found.schedule.span(phase)
    inside: list[Record] = [record for record in found.records if record.phase == phase]
    bad = first_bad_second(inside, start, found.scenario.objective, found.scenario.target)
    down = next((d.at for d in found.decisions if d.action == "precision:down" and start <= d.at < end), None)
    if down is None:
        return "no switch in it"
    if bad is None or bad > down:
        return f"switch {down - start:.2f} s after the load rose, before any bad second"
    return f"switch {down - bad:.2f} s after the first bad second began"


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(".demo/bench")
    runs = asyncio.run(run(folder))
    controlled = runs[SETTINGS[0].name]
    carries = ", ".join(f"{name} {rate:.0f}/s" for name, rate in controlled.capacities.items())
    within = f"{controlled.scenario.objective * 1e3:.0f} ms"
    print(f"Good requests a second: answered within {within} of the scheduled moment. Measured peaks: {carries}.\n")
    print(table(runs), "\n")
    for times in TIMES:
        print(f"- {times}×: {reaction(controlled, f'{times}×')}")
    late = ", ".join(f"{lag(found.records) * 1e3:.1f} ms" for found in runs.values())
    print(f"- the driver's own lateness, p99 of each run: {late}")


if __name__ == "__main__":
    main()
