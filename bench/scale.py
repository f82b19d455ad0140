"""1,000 SLOs on a 1 s tick: processor time and memory of the control plane's part: `python -m bench.scale`.

The controller runs as in the daemon, with its store, alerts and history, on a clock that is set forward a second after
each tick. Processor time, so that others on the machine do not count. Memory is that of a process with all SLOs less
that of one with a single SLO.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import structlog

from bench.core import MODELS, project
from sloctl.board import Board, Boards
from sloctl.config.project import load_project
from sloctl.control.controller import Controller, settle
from sloctl.control.sensing import Senses
from sloctl.control.store import Store
from sloctl.telemetry import catalogue as c
from sloctl_exporters.nvml import NvmlSource
from sloctl_exporters.nvml_ticker import Ticker

SLOS = 1000
TICKS = 300
BAD = 5.0  # seconds, where 0.1 are promised


def resident() -> float:
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measured(slos: int) -> dict[str, list[float] | float]:
    """Processor time of ticks in ms, sorted, while nothing burns and while every SLO alerts; and memory in MiB."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as scratch:
        loaded = load_project(project(Path(scratch), slos=slos, rules=1))
        board, store = Board.create(loaded.runtime.topology), Store(Path(scratch) / "state")
        senses = Senses(Boards([board]), ("cpu",), Ticker(NvmlSource(), 1.0))
        ahead = [0.0]
        clock, wall = (lambda: time.monotonic() + ahead[0]), (lambda: time.time() + ahead[0])
        controller = Controller(loaded.runtime, loaded.bundle, senses, store, clock=clock, wall=wall)
        del loaded  # the daemon does not keep the documents either
        histograms = [board.histogram(c.REQUEST_DURATION, f"m{number}", "fp32") for number in range(MODELS)]
        settle()

        def ticks(seconds: float) -> list[float]:
            took = []
            for _ in range(TICKS):
                ahead[0] += 1
                for histogram in histograms:
                    histogram.observe(seconds)
                begin = time.process_time()
                controller.tick()
                took.append((time.process_time() - begin) * 1e3)
            return sorted(took)

        found: dict[str, list[float] | float] = {"quiet": ticks(0.01), "alerting": ticks(BAD)}
        gc.collect()
        found["memory"] = resident()
        store.close()
        board.close()
        os.close(board.fd)
    return found


def main() -> None:
    """Prints the table."""
    one, many = (
        json.loads(subprocess.check_output([sys.executable, "-m", "bench.scale", str(slos)])) for slos in (1, SLOS)
    )
    print("| 1,000 SLOs | mean | median | p99 | worst | of a core at 1 s |\n| --- | --- | --- | --- | --- | --- |")
    for name, what in (("quiet", "nothing burns"), ("alerting", "each SLO pages and tickets")):
        took = many[name]
        mean = sum(took) / TICKS
        figures = [mean, took[TICKS // 2], took[int(TICKS * 0.99)], took[-1]]
        print(f"| tick, {what} | {' | '.join(f'{each:.1f} ms' for each in figures)} | {mean / 10:.1f} % |")
    print(f"\nResident memory: {many['memory']:.0f} MiB, {many['memory'] - one['memory']:.0f} more than with one SLO.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measured(int(sys.argv[1]))))
    else:
        main()
