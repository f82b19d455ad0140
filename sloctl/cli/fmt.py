"""`sloctl fmt`: files in one form, with their comments."""

import difflib
from pathlib import Path
from typing import Annotated

import typer


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
    from sloctl.cli.files import replace
    from sloctl.config.formatting import formatted
    from sloctl.config.problems import Problem, arranged, render
    from sloctl.config.sources import read

    problems: list[Problem] = []
    other = 0
    for path in files:
        source, wrong = read(Path("/dev/stdin") if str(path) == "-" else path)
        problems += wrong
        if source is None:
            continue
        text, errors = formatted(source)
        problems += errors
        changed = text != source.text and not errors
        other += changed
        if diff and changed:
            typer.echo(_difference(path, source.text, text), nl=False)
        elif str(path) == "-" and not check:
            typer.echo(text, nl=False)
        elif changed:
            typer.echo(f"{path}: {'is in another form' if check else 'formatted'}", err=True)
            if not check:
                replace(path, text)
    if problems:
        typer.echo(render(arranged(problems)), err=True)
    raise typer.Exit(1 if problems or (check and other) else 0)


def _difference(path: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), f"{path} (formatted)")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
