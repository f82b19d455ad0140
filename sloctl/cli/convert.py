"""`sloctl convert`: SLOs from one format into another, saying what is lost."""

from pathlib import Path
from typing import Annotated

import typer

from sloctl.config.convert import Format


def convert(
    files: Annotated[list[Path], typer.Argument(help="Files of SLOs and of what they refer to.")],
    to: Annotated[Format, typer.Option(help="The format to write.")],
    windows: Annotated[Path | None, typer.Option(help="Alerting windows in place of the SRE workbook's.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Write nothing if anything is lost.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; standard output without it.")
    ] = None,
) -> None:
    """Write SLOs in OpenSLO's, Sloth's or sloctl's own format; what is lost is listed on standard error, with places.

    Exit status: 0 written, 1 something is wrong with a file, has no words in the other format, or (with --strict) is
    lost; 2 wrong usage, 3 the output cannot be written.
    """
    from sloctl.cli.files import replace
    from sloctl.config.convert import comment_count, converted
    from sloctl.config.documents import load_bundle
    from sloctl.config.problems import Severity, render

    bundle = load_bundle([*files, windows] if windows else files)
    found = converted(bundle, to) if not bundle.problems else None
    problems = found.problems if found else bundle.problems
    if problems:
        typer.echo(render(problems), err=True)
    if found is None or any(strict or problem.severity is Severity.ERROR for problem in problems):
        raise typer.Exit(1)
    if not found.text:
        typer.echo("error: there is no SLO in these files", err=True)
        raise typer.Exit(1)
    if comments := comment_count(bundle):
        typer.echo(f"note: comments are not carried over: {comments}", err=True)
    if output is None:
        typer.echo(found.text, nl=False)
    else:
        replace(output, found.text)
