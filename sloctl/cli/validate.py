"""`sloctl validate`: every problem of configuration files at once, before a daemon sees them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sloctl.config.problems import Problem


class Format(StrEnum):
    """How problems are printed."""

    TEXT = "text"
    JSON = "json"


def validate(
    files: Annotated[list[Path] | None, typer.Argument(help="Daemon, SLO, Policy and AlertWindows files.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A daemon's configuration to hold the files against.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="text for people, json for programs.")] = Format.TEXT,
) -> None:
    """Check configuration files and print all problems at once, each with file, line and column.

    A daemon's configuration is checked with every file that it names. Other files are held against the
    daemon that is given (among FILES or with --config); without one, the models, variants and priority
    classes that they name are not checked.

    Exit status: 0 no problems, 1 problems found, 2 wrong usage, such as a file that does not exist.
    Each error's code is explained in docs/reference/errors.md.
    """
    import json
    import os
    import sys

    from sloctl.config.problems import render

    everything = [*(files or []), *([config] if config else [])]
    if not everything:
        raise _usage("name at least one file to check")
    missing = [str(path) for path in everything if not path.is_file()]
    if missing:
        raise _usage(f"not a file: {', '.join(missing)}")
    problems = problems_of(files or [], config)
    if output is Format.JSON:
        shown = json.dumps({"problems": [problem.as_dict() for problem in problems]}, indent=2)
    elif problems:
        shown = render(problems, color=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    else:
        shown = "no problems"
    typer.echo(shown)
    raise typer.Exit(1 if problems else 0)


def problems_of(files: list[Path], config: Path | None) -> "tuple[Problem, ...]":
    """All problems of the files, held against `config` or each daemon among them."""
    from sloctl.cli.measured import accuracies
    from sloctl.config.documents import DAEMON, WINDOWS, Files, kind_of, load_bundle
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
    for path in daemons.values():
        problems += examine(path, others, accuracies)[2]
    if not daemons:
        problems += load_bundle(others).problems
    return arranged(problems)


def _usage(message: str) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(2)
