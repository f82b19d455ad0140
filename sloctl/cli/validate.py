"""`sloctl validate`: every problem of configuration files at once, before a daemon sees them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sloctl.config.documents import Bundle
    from sloctl.config.lints import Options
    from sloctl.config.problems import Problem


class Format(StrEnum):
    """How problems are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


def validate(
    files: Annotated[list[Path] | None, typer.Argument(help="Daemon, SLO, Policy and AlertWindows files.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A daemon's configuration to hold the files against.")
    ] = None,
    output: Annotated[
        Format, typer.Option("--format", help="text for people; json, github and sarif for programs.")
    ] = Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as problems, too.")] = False,
    retention: Annotated[
        str | None, typer.Option(help="How long the Prometheus of the rules keeps samples, such as 15d.")
    ] = None,
    scrape_interval: Annotated[str, typer.Option(help="How often it takes them.")] = "15s",
    rate: Annotated[float | None, typer.Option(min=0, help="Events a second that are expected of each SLO.")] = None,
    max_series: Annotated[int, typer.Option(min=1, help="Series that the SLOs of one file may make.")] = 10_000,
) -> None:
    """Check configuration files and print all problems at once, each with file, line and column.

    A daemon's configuration is checked with every file that it names. Other files are held against the
    daemon that is given (among FILES or with --config); without one, the models, variants and priority
    classes that they name are not checked.

    Exit status: 0 no problems (but for warnings, without --strict), 1 problems found, 2 wrong usage, such as a file
    that does not exist. Each problem's code is explained in docs/reference/errors.md.
    """
    from sloctl.cli import reports
    from sloctl.config.base import parse_duration
    from sloctl.config.lint_objectives import Limits
    from sloctl.config.lints import Options
    from sloctl.config.problems import Severity

    everything = [*(files or []), *([config] if config else [])]
    if not everything:
        raise _usage("name at least one file to check")
    missing = [str(path) for path in everything if not path.is_file()]
    if missing:
        raise _usage(f"not a file: {', '.join(missing)}")
    try:
        kept = parse_duration(retention) if retention else None
        limits = Limits(kept, parse_duration(scrape_interval), rate or None)
    except ValueError as error:
        raise _usage(f"--retention and --scrape-interval: {error}") from None
    problems = problems_of(files or [], config, Options(limits, max_series))
    programs = {Format.JSON: reports.as_json, Format.GITHUB: reports.as_github, Format.SARIF: reports.as_sarif}
    shown = programs[output](problems) if output in programs else _shown(problems)
    if shown:
        typer.echo(shown)
    bad = [problem for problem in problems if strict or problem.severity is Severity.ERROR]
    raise typer.Exit(1 if bad else 0)


def _shown(problems: "tuple[Problem, ...]") -> str:
    import os
    import sys

    from sloctl.config.problems import render

    if not problems:
        return "no problems"
    return render(problems, color=sys.stdout.isatty() and "NO_COLOR" not in os.environ)


def problems_of(files: list[Path], config: Path | None, options: "Options | None" = None) -> "tuple[Problem, ...]":
    """All problems of the files, warnings among them, held against `config` or each daemon among them."""
    from sloctl.cli.measured import accuracies
    from sloctl.config.documents import DAEMON, WINDOWS, Files, kind_of, load_bundle
    from sloctl.config.lints import Options, lints
    from sloctl.config.problems import arranged
    from sloctl.config.project import examine

    kinds = [(document.source.path, kind_of(document)) for document in Files.read(files).documents]
    found = [path for path, kind in kinds if kind == DAEMON]
    daemons = {path.resolve(): path for path in (*found, *([config] if config else []))}
    tables = {path for path, kind in kinds if kind == WINDOWS}
    # A daemon has one table of windows, which its file names; several files of them are alternatives.
    apart = tables if len(tables) > 1 or daemons else set()
    others = [path for path in files if path.resolve() not in daemons and path not in apart]
    problems = [problem for path in apart for problem in load_bundle([path]).problems]
    bundles: list[Bundle] = [] if daemons else [load_bundle(others)]
    for path in daemons.values():
        _, bundle, wrong = examine(path, others, accuracies)
        problems += wrong
        bundles += [bundle] if bundle else []
    for bundle in bundles:
        problems += [*bundle.problems, *lints(bundle, options or Options())]
    return arranged(problems)


def _usage(message: str) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(2)
