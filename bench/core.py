"""What the control plane's parts cost: an observation, a tick with 100 SLOs, a scrape with 2,000 series."""

import os
import tempfile
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sloctl.board import Board, Boards
from sloctl.config.project import load_project
from sloctl.control.controller import Controller
from sloctl.control.sensing import Senses
from sloctl.control.store import Store
from sloctl.telemetry import catalogue as c
from sloctl_exporters.nvml import NvmlSource
from sloctl_exporters.nvml_ticker import Ticker
from sloctl_exporters.prometheus import render

MODELS = 8
DAEMON = """
apiVersion: sloctl/v1
kind: Daemon
slos: [slo.yaml]
policies: [policy.yaml]
models:
"""
SLO = """
apiVersion: openslo/v1
kind: SLO
metadata: {{name: slo-{index}}}
spec:
  service: bench
  indicator:
    metadata: {{name: latency}}
    spec:
      thresholdMetric:
        metricSource:
          type: sloctl
          spec: {{metric: sloctl_request_duration_seconds, labels: {{model: m{model}}}}}
  timeWindow: [{{duration: 30d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{op: lte, value: 0.1, target: 0.999}}]
"""
POLICY = """
apiVersion: sloctl/v1
kind: Policy
metadata: {name: m0}
spec:
  model: m0
  ladder: [fp32, int8]
  rules:
"""
RULE = """
  - name: rule-{index}
    when: burn_rate("slo-{index}", "5m") > 14.4 && offered_rows > 0.9 * capacity("fp32")
    action: {{precision: down}}
"""


def project(folder: Path, slos: int, rules: int) -> Path:
    """Writes a configuration with so many SLOs and rules."""
    models = "".join(f"  - {{name: m{i}, variants: [fp32, int8]}}\n" for i in range(MODELS))
    (folder / "sloctl.yaml").write_text(DAEMON + models)
    (folder / "slo.yaml").write_text("---".join(SLO.format(index=i, model=i % MODELS) for i in range(slos)))
    (folder / "policy.yaml").write_text(POLICY + "".join(RULE.format(index=i) for i in range(rules)))
    return folder / "sloctl.yaml"


def per_call(statement: object, number: int) -> float:
    """Median seconds of a call, of five rounds."""
    rounds = sorted(timeit.repeat(statement, number=number, repeat=5))  # type: ignore[arg-type]
    return rounds[2] / number


@dataclass(frozen=True)
class Parts:
    """A control plane's parts over a board, without processes."""

    board: Board
    controller: Controller


@contextmanager
def parts(slos: int, rules: int) -> Iterator[Parts]:
    """A controller with so many SLOs and rules that has ticked once."""
    with tempfile.TemporaryDirectory() as scratch:
        loaded = load_project(project(Path(scratch), slos, rules))
        board = Board.create(loaded.runtime.topology)
        store = Store(Path(scratch) / "state")
        senses = Senses(Boards([board]), ("cpu",), Ticker(NvmlSource(), 1.0))
        controller = Controller(loaded.runtime, loaded.bundle, senses, store)
        controller.tick()
        yield Parts(board, controller)
        store.close()
        board.close()
        os.close(board.fd)


def tick_seconds(slos: int = 100, rules: int = 50) -> float:
    """Median seconds of a tick."""
    with parts(slos, rules) as found:
        return per_call(found.controller.tick, 40)


def main() -> None:
    """Prints the table."""
    with parts(slos=100, rules=50) as found:
        board, controller = found.board, found.controller
        histogram = board.histogram(c.REQUEST_DURATION, "m0", "fp32")
        counter = board.counter(c.REQUESTS, "m0", "normal", "ok")
        word = board.control("m0")
        families = controller.families()
        series = sum(line[:1] != b"#" for line in render(families)[0].splitlines())

        def scrape() -> bytes:
            return render(controller.families())[0]

        rows = [
            ("histogram observation", per_call(lambda: histogram.observe(0.0123), 100_000) * 1e6, "µs", "0.5"),
            ("counter increment", per_call(counter.inc, 100_000) * 1e6, "µs", "0.5"),
            ("reading the control word", per_call(word.read, 100_000) * 1e6, "µs", ""),
            ("snapshot of the board", per_call(board.snapshot, 200) * 1e3, "ms", ""),
            ("tick, 100 SLOs and 50 rules", per_call(controller.tick, 40) * 1e3, "ms", "5"),
            (f"scrape of {series} series", per_call(scrape, 10) * 1e3, "ms", "15 per 2,000"),
        ]
    print("| what | measured | goal |\n| --- | --- | --- |")
    for name, value, unit, goal in rows:
        print(f"| {name} | {value:.3g} {unit} | {'≤ ' + goal + ' ' + unit if goal else ''} |")


if __name__ == "__main__":
    main()
