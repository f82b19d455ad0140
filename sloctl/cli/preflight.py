"""`sloctl preflight`: load a model in a throw-away process, and say what happened to it."""

import json
from pathlib import Path
from typing import Annotated

import typer


def preflight(
    paths: Annotated[list[Path], typer.Argument(help="Variant folders with a manifest, or bare model files.")],
    device: Annotated[str, typer.Option(help="cpu, cuda:N or a GPU's UUID.")] = "cpu",
    lean_runtime: Annotated[str | None, typer.Option(help="Library that a bare older plan needs.")] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Rows to make room for.")] = 1,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for each.")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Load each model in a process of its own, run it once, and report what was found.

    A process that is killed by a signal is a finding, not a crash of this one. Exit status: 0 all passed, 1 not all.
    """
    from sloctl.engines import preflight as engine

    found = []
    for path in paths:
        subject = engine.Subject(path, device, lean_runtime, max_batch)
        report = engine.preflight(subject, timeout)
        found.append(report)
        if as_json:
            continue
        typer.echo(f"{path}: {'FAILED' if report.failed else 'passed'} in {report.seconds:.1f} s")
        for line in engine.describe(report):
            typer.echo(f"  {line}")
    if as_json:
        rows = [
            {
                "path": str(path),
                "passed": not report.failed,
                "failed": report.failed or None,
                "reason": report.reason or None,
                "seconds": round(report.seconds, 3),
                "steps": [{"step": name, "found": text} for name, text in report.steps],
                **report.details,
            }
            for path, report in zip(paths, found, strict=True)
        ]
        typer.echo(json.dumps({"preflights": rows}, indent=2))
    raise typer.Exit(1 if any(report.failed for report in found) else 0)
