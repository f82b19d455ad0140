"""The demo's last page: phases side by side, decisions, the verdict; and the same as JSON and as a picture."""

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sloctl.cli.demo_run import Run
from sloctl.cli.demo_screen import decisions_table, milliseconds
from sloctl.cli.demo_verdict import Check, bad_second, first_down
from sloctl.load.results import Summary, by_phase, lag, summarise

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_COLUMNS = ("status", "priority", "scheduled", "sent", "finished", "variant", "reason")


def show(console: "Console", on: Run, off: Run, checks: Sequence[Check]) -> None:
    """Prints the whole page."""
    for part in page(on, off, checks):
        console.print(part)


def page(on: Run, off: Run, checks: Sequence[Check]) -> list["RenderableType"]:
    """The page in parts."""
    from rich.text import Text

    heading = Text("\ndecisions, with the controller on", style="italic")
    return [phases(on, off), heading, decisions_table(on.decisions), "", _verdict(checks), Text(_conditions(on, off))]


def phases(on: Run, off: Run) -> "Table":
    """Two rows a phase: with the controller and without, one under the other."""
    from rich.table import Table

    within = milliseconds(on.scenario.objective)
    table = Table(title="each phase with the controller on, and with it off", title_justify="left", show_lines=False)
    table.add_column("phase")
    table.add_column("")
    for name in ("offered", f"in {within}", "late", "refused", "failed", "p99"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("served by")
    sums = [(run, by_phase(run.records, run.schedule, run.scenario.objective)) for run in (on, off)]
    for phase in on.schedule.phases:
        for run, found in sums:
            table.add_row(phase.name if run is on else "", *_row(run, found[phase.name]), end_section=run is off)
    whole = [(run, summarise(run.records, run.schedule.seconds, run.scenario.objective)) for run in (on, off)]
    for run, total in whole:
        table.add_row("all" if run is on else "", *_row(run, total))
    return table


def _row(run: Run, found: Summary) -> tuple[str, ...]:
    share = f"{found.good / found.offered:.0%}" if found.offered else "-"
    served = " ".join(f"{name} {part:.0%}" for name, part in found.variants.items()) or "-"
    which = "[green]on[/]" if run.controller else "off"
    counts = (found.late, found.refused, found.failed)
    return (which, str(found.offered), f"{found.good} ({share})", *map(str, counts), milliseconds(found.p99), served)


def _verdict(checks: Sequence[Check]) -> "Table":
    from rich.table import Table

    table = Table(title="did the controller do its work?", title_justify="left", show_header=False)
    for check in checks:
        table.add_row("[green]✓[/]" if check.passed else "[red]✗[/]", check.name, check.measured)
    return table


def _conditions(on: Run, off: Run) -> str:
    """What a reader must know to trust the figures."""
    carried = ", ".join(
        f"{name} {on.capacities[name]:.0f}/s (accuracy {_accuracy(on.accuracies[name])})"
        for name in on.scenario.variants
    )
    late = " and ".join(f"{lag(run.records) * 1e3:.1f} ms" for run in (on, off))
    return (
        f"\nMeasured on {os.cpu_count()} cores that carry the daemon, the load and this screen: {carried}. Latencies\n"
        f"are the client's, from the scheduled moment; the driver's own lateness (p99 {late}) is in them.\n"
    )


def _accuracy(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def as_json(on: Run, off: Run, checks: Sequence[Check]) -> str:
    """Everything that was measured. Times are seconds after the start of a run."""
    down, bad = first_down(on), bad_second(on)
    found = {
        "passed": all(check.passed for check in checks),
        "checks": [dataclasses.asdict(check) for check in checks],
        "firstBadSecond": bad,
        "firstSwitch": down.at if down else None,
        "runs": [_run(run) for run in (on, off)],
    }
    return json.dumps(_clean(found), indent=1)


def _run(run: Run) -> dict[str, Any]:
    objective = run.scenario.objective
    return {
        "controller": run.controller,
        "scenario": dataclasses.asdict(run.scenario),
        "cores": os.cpu_count(),
        "began": run.began,
        "capacities": run.capacities,
        "accuracies": run.accuracies,
        "driverLag": {"p50": lag(run.records, 0.5), "p99": lag(run.records), "max": lag(run.records, 1.0)},
        "phases": [
            {**dataclasses.asdict(phase), **dataclasses.asdict(found), "goodput": found.goodput}
            for phase, found in zip(
                run.schedule.phases, by_phase(run.records, run.schedule, objective).values(), strict=True
            )
        ],
        "decisions": [dataclasses.asdict(decision) for decision in run.decisions],
        "samples": [dataclasses.asdict(sample) for sample in run.samples],
        "requests": {
            "columns": _COLUMNS,
            "rows": [[_short(getattr(record, column)) for column in _COLUMNS] for record in run.records],
        },
    }


def _short(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value


def _clean(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def picture(path: Path, on: Run, off: Run, checks: Sequence[Check]) -> None:
    """Writes the page as an SVG. Raises OSError."""
    import io

    from rich.console import Console

    console = Console(record=True, width=130, file=io.StringIO(), force_terminal=True)
    show(console, on, off, checks)
    path.write_text(console.export_svg(title="sloctl demo"))
