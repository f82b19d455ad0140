"""`sloctl test`: an SRE's own test cases of SLOs and policies, on the daemon's engine and on Prometheus'."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sloctl.cases.runner import Verdict


class Engine(StrEnum):
    """What evaluates."""

    IN_PROCESS = "in-process"
    PROMTOOL = "promtool"
    BOTH = "both"


class Format(StrEnum):
    """How the outcome is written."""

    TEXT = "text"
    JSON = "json"


def run_tests(
    files: Annotated[list[Path], typer.Argument(help="Files of test cases (kind: Test).")],
    engine: Annotated[Engine, typer.Option(help="What evaluates; both must agree.")] = Engine.BOTH,
    output: Annotated[Format, typer.Option("--format", help="How the outcome is written.")] = Format.TEXT,
) -> None:
    """Run test cases: series in, ratios, burn rates, alerts and decisions out.

    Exit status: 0 all hold, 1 something does not or a file is wrong, 2 wrong usage, 3 promtool is missing or failed.
    """
    from sloctl.cases import with_promtool
    from sloctl.cases.counting import BeyondCountingError
    from sloctl.cases.runner import load, run, subject_of
    from sloctl.config.problems import ConfigError, arranged

    if engine is not Engine.IN_PROCESS and not with_promtool.available():
        if engine is Engine.PROMTOOL:
            typer.echo("error: promtool is not on the path; it comes with Prometheus", err=True)
            raise typer.Exit(3)
        typer.echo("promtool is not on the path: tested in process only", err=True)
        engine = Engine.IN_PROCESS
    documents, problems = load(files)
    verdicts: list[Verdict] = []
    try:
        for document, model in documents:
            subject, wrong = subject_of(document, model)
            problems += wrong
            verdicts += run(document, model, subject, engine.value) if subject else []
    except with_promtool.PromtoolError as error:
        typer.echo(f"error: promtool failed:\n{error}", err=True)
        raise typer.Exit(3) from None
    except BeyondCountingError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    if problems:
        typer.echo(str(ConfigError(arranged(problems))), err=True)
    if verdicts or output is Format.JSON:
        _print(verdicts, output)
    if problems or not all(verdict.holds and not verdict.differ for verdict in verdicts):
        raise typer.Exit(1)


def _print(verdicts: "list[Verdict]", output: Format) -> None:
    if output is Format.JSON:
        typer.echo(json.dumps({"expectations": [_plain(verdict) for verdict in verdicts]}, indent=2))
        return
    for verdict in verdicts:
        if not verdict.holds or verdict.differ:
            typer.echo(_failure(verdict))
    cases = {(verdict.where.split(":")[0], verdict.case) for verdict in verdicts}
    failed = sum(not verdict.holds or verdict.differ for verdict in verdicts)
    single = sum(len(verdict.answers) == 1 for verdict in verdicts)
    beside = f", {single} of them by one engine only" if single else ""
    outcome = f"{failed} failed" if failed else "all hold"
    typer.echo(f"{len(cases)} cases, {len(verdicts)} expectations{beside}: {outcome}")


def _failure(verdict: "Verdict") -> str:
    from sloctl.config.base import format_duration

    asked = verdict.question
    about = f" of {asked.slo}" if asked.slo else ""
    lines = [f"{verdict.where}: {verdict.case}: at {format_duration(asked.at)}, {asked.what}{about}"]
    lines.append(f"    expected    {_shown(asked.expected)}")
    lines += [f"    {each.engine:12}{each.skipped or _shown(each.value)}" for each in verdict.findings]
    if verdict.differ:
        lines.append("    the two engines differ: that is a bug of sloctl, or a series that no scrape would give")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return "no data" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value)


def _plain(verdict: "Verdict") -> dict[str, Any]:
    asked = verdict.question
    found = {each.engine: each.value for each in verdict.answers}
    skipped = {each.engine: each.skipped for each in verdict.findings if each.skipped}
    return {
        "case": verdict.case,
        "where": verdict.where,
        "at": asked.at,
        "what": asked.what,
        "slo": asked.slo or None,
        "expected": asked.expected,
        "found": found,
        "skipped": skipped,
        "holds": verdict.holds,
        "differ": verdict.differ,
    }
