"""`sloctl fmt`: files in one form, with their comments."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sloctl.config.problems import Problem


def fmt(
    files: Annotated[list[Path], typer.Argument(help="Files to format; - reads standard input and prints.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say which files are in another form.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; print what would change.")] = False,
) -> None:
    """Bring sloctl's, OpenSLO's and Sloth's files into one form: order of fields, layout, quotes, durations.

    Comments stay with what they are about. Files with errors stay as they are.

    Exit status: 0 done, 1 a file has errors, or another form than with --check it should; 2 wrong usage, 3 a file
    cannot be written.
    """
    from sloctl.config.problems import arranged, render

    outcomes = [_one(path, check=check, diff=diff) for path in files]
    problems = [problem for wrong, _ in outcomes for problem in wrong]
    if problems:
        typer.echo(render(arranged(problems)), err=True)
    raise typer.Exit(0 if all(fine for _, fine in outcomes) else 1)


def _one(path: Path, *, check: bool, diff: bool) -> "tuple[Sequence[Problem], bool]":
    """What is wrong with a file, and whether all is as it was asked for."""
    from sloctl.cli.files import replace
    from sloctl.config.formatting import formatted
    from sloctl.config.sources import read

    source, wrong = read(Path("/dev/stdin") if str(path) == "-" else path)
    if source is None:
        return wrong, False
    try:
        text, errors = formatted(source)
    except ValueError as error:
        typer.echo(f"error: {path} stays as it is: {error}", err=True)
        return (), False
    changed = text != source.text
    if errors or not (changed or str(path) == "-"):
        return errors, not errors
    if diff:
        typer.echo(_difference(path, source.text, text), nl=False)
    if check and changed:
        typer.echo(f"{path} is in another form", err=True)
    if check or diff:
        return (), not (check and changed)
    if str(path) == "-":
        typer.echo(text, nl=False)
    else:
        replace(path, text)
        typer.echo(f"{path}: formatted", err=True)
    return (), True


def _difference(path: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), f"{path} (formatted)")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
