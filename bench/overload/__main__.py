"""The goals under overload, each beside what was measured: `python -m bench.overload [FOLDER]`.

On a CPU: an emulated accelerator, the digits model through ONNX Runtime, and what needs neither. On a GPU:

    python -m bench.overload --plans FOLDER [--lib NAME] [--drivers N] [--budget SECONDS]

FOLDER (of the CPU's) keeps models. BENCH_SECONDS and BENCH_SEEDS shorten a run; `--parts` chooses. Every table is
printed as soon as it is there, a part that fails costs only its own, and no part begins after the budget is spent.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bench.overload import beds, breaking, flapping, goodput, half_open, handover, overhead, spike, storm, switching
from bench.overload.beds import Bed, pinned
from bench.overload.goals import Finding, summary
from bench.overload.nodes import OWN, PEERS, UNBOUNDED, Setting, running
from bench.overload.options import Options

PARTS = ("fixed", "switching", "spike", "breaker", "handover", "storm", "flapping", "halfopen", "overhead")
PRECISIONS = ("fp32", "tf32", "fp16", "int8")
SLOWER = 100.0  # than the H200, the accelerator of the storms, several of which are played side by side


class Told(Protocol):
    """What a part found."""

    def table(self) -> str:
        """For people."""

    def findings(self) -> list[Finding]:
        """Against the goals."""


class Report:
    """Runs parts, prints what they found, and keeps it for the closing table."""

    def __init__(self, parts: Sequence[str], budget: float) -> None:
        self._parts = parts
        self._end = time.monotonic() + budget
        self.findings: list[Finding] = []
        self.failed: list[str] = []

    def run(self, part: str, title: str, measure: Callable[[], tuple[str, list[Finding]]]) -> None:
        """Measures and prints one part, if it was asked for and there is time."""
        if part not in self._parts:
            return
        print(f"\n### {title}\n", flush=True)
        if time.monotonic() > self._end:
            self.failed.append(title)
            print("Left out: the time is over.", flush=True)
            return
        begun = time.monotonic()
        try:
            text, found = measure()
        except (Exception, SystemExit):  # the other parts are still worth their time
            self.failed.append(title)
            traceback.print_exc()
            print("This part failed.", flush=True)
            return
        self.findings += found
        print(f"{text}\n\n{summary(found)}\n\n({time.monotonic() - begun:.0f} s)", flush=True)


def introduce(bed: Bed) -> None:
    """What is real and what is not, and what is promised."""
    promise = f"Objective {bed.objective * 1e3:g} ms, clients give up after {bed.patience:g} s."
    print(f"\n## {bed.name}\n\n{bed.what}. {promise}")


def fixed(report: Report, bed: Bed, options: Options, settings: Sequence[Setting] = (OWN, *PEERS)) -> None:
    """The first variant alone."""

    def measured() -> tuple[str, list[Finding]]:
        found = goodput.measure(bed, options, settings)
        return f"Peak {found.peak:.0f} requests/s.\n\n{found.table()}", found.findings()

    report.run("fixed", f"{bed.name}: goodput at {bed.variants[0]}", measured)


def switched(report: Report, bed: Bed, options: Options) -> None:
    """Every variant pinned, and the planner."""

    def measured() -> tuple[str, list[Finding]]:
        found = switching.measure(bed, options)
        return found.table(), found.findings()

    report.run("switching", f"{bed.name}: switching against each precision pinned", measured)


def on_bed(report: Report, bed: Bed, options: Options) -> None:
    """All that needs a daemon."""
    introduce(bed)
    fixed(report, bed, options)
    switched(report, bed, options)
    parts: tuple[tuple[str, str, Callable[[Bed, Options], Told]], ...] = (
        ("spike", "a spike of low priority", spike.measure),
        ("breaker", "an engine that fails", breaking.measure),
        ("handover", "a switch under load", handover.measure),
    )
    for part, title, measure in parts:

        def measured(measure: Callable[[Bed, Options], Told] = measure) -> tuple[str, list[Finding]]:
            found = measure(bed, options)
            return found.table(), found.findings()

        report.run(part, f"{bed.name}: {title}", measured)


def stormy(report: Report, bed: Bed, options: Options, at_once: int, most: int | None = None) -> None:
    """Storms of retries, `at_once` of them side by side; `most` cases."""

    def measured() -> tuple[str, list[Finding]]:
        with running(pinned(bed, bed.variants[0]), OWN) as node:
            peak = goodput.peak_of(node, options.ramp)
        found = storm.measure(bed, peak, options.storm, storm.cases(options, bed.patience)[:most], at_once)
        return found.table(), found.findings()

    report.run("storm", f"{bed.name}: after a storm of retries", measured)


def elsewhere(report: Report) -> None:
    """What needs no daemon."""

    def flaps() -> tuple[str, list[Finding]]:
        found = [finding for policy in flapping.POLICIES for finding in flapping.measure(policy)]
        return "`sloctl simulate`'s engine; fp32 carries 500/s, int8 1,000/s.", found

    report.run("flapping", "Flapping", flaps)
    report.run("halfopen", "Half-open", lambda: ("", half_open.measure().findings()))
    report.run("overhead", "Overhead", lambda: ("", overhead.admission() + overhead.tick()))


def on_cpu(report: Report, folder: Path, options: Options, chosen: Sequence[str]) -> None:
    """The emulated accelerator, the real model, and the rest."""
    if "emulated" in chosen:
        on_bed(report, beds.emulated(folder / "emulated"), options)
        slow = replace(beds.emulated(folder / "slow", SLOWER), name="emulated, slower")
        stormy(report, slow, options, at_once=4)
    if "onnx" in chosen:
        bed = beds.onnx(folder / "onnx")
        introduce(bed)
        fixed(report, bed, replace(options, seeds=options.seeds[:2]), settings=(OWN, UNBOUNDED))
        switched(report, bed, options.first)
    elsewhere(report)


def on_gpu(report: Report, arguments: argparse.Namespace, options: Options) -> None:
    """The plans; the fastest is overloaded by itself, too. A batch is short, so the ramp may be."""
    options = replace(options, ramp=1.5)
    with tempfile.TemporaryDirectory() as scratch:
        bed = beds.plans(Path(scratch), arguments.plans, arguments.lib, PRECISIONS, arguments.drivers)
        on_bed(report, bed, options)
        stormy(report, bed, options.first, at_once=1, most=1)
        fastest = pinned(bed, bed.variants[-1])
        fixed(report, fastest, options.first, settings=(OWN,))


def main() -> None:
    """Measures and prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".demo/overload"))
    parser.add_argument("--beds", default="emulated,onnx", help="on a CPU")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--plans", type=Path, help="folder of digits_resnet.<precision>.plan")
    parser.add_argument("--lib", help="name of the lean runtime that the plans need")
    parser.add_argument("--drivers", type=int, default=8, help="processes that drive the load on a GPU")
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds after which no part begins")
    arguments = parser.parse_args()
    options, report = Options.read(), Report(arguments.parts.split(","), arguments.budget)
    print(f"{os.cpu_count()} cores; loads of {options.seconds:g} s, seeds {', '.join(map(str, options.seeds))}.")
    if arguments.plans:
        on_gpu(report, arguments, options)
    else:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        on_cpu(report, arguments.folder, options, arguments.beds.split(","))
    print(f"\n## Goals\n\n{summary(report.findings)}")
    if report.failed:
        sys.exit(f"failed or left out: {'; '.join(report.failed)}")


if __name__ == "__main__":
    main()
