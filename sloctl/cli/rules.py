"""`sloctl rules`: Prometheus rules for the SLOs that the daemon judges itself."""

from pathlib import Path
from typing import Annotated

import typer


def rules(
    files: Annotated[list[Path], typer.Argument(help="OpenSLO files.")],
    windows: Annotated[Path | None, typer.Option(help="Alerting windows in place of the SRE workbook's.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; standard output without it.")
    ] = None,
) -> None:
    """Write Prometheus recording and alerting rules for SLOs.

    Exit status: 0 written, 1 something is wrong with a file, 2 wrong usage, 3 the output cannot be written.
    """
    from sloctl.config.documents import load_bundle
    from sloctl.config.problems import ConfigError, require
    from sloctl.slo.prometheus import to_yaml

    try:
        bundle = load_bundle([*files, windows] if windows else files)
        require(bundle.problems)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if not bundle.objectives:
        typer.echo("error: there is no SLO in these files", err=True)
        raise typer.Exit(1)
    text = to_yaml(bundle.objectives, bundle.windows)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        _replace(output, text)
    except OSError as error:
        typer.echo(f"error: cannot write {output}: {error.strerror}", err=True)
        raise typer.Exit(3) from None
    typer.echo(f"{output}: rules for {len(bundle.objectives)} SLOs", err=True)


def _replace(path: Path, text: str) -> None:
    # Whole or not at all: Prometheus may read the file at any moment.
    draft = path.with_name(f".{path.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
