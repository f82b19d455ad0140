"""`sloctl schema`: JSON Schema of what sloctl reads, for editors."""

from pathlib import Path
from typing import Annotated

import typer


def schema(
    kind: Annotated[str | None, typer.Argument(help="A kind such as Daemon or openslo-slo; without it all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write the schema of every kind into.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say which files are not current.")] = False,
) -> None:
    """Print the JSON Schema (2020-12) of a kind, or of all kinds by apiVersion and kind; or write a file for each.

    Exit status: 0 printed, written or current, 1 not current, 2 wrong usage, 3 a file cannot be written.
    """
    from sloctl.cli.generated import settle
    from sloctl.config.schema import COMBINED, names, schemas, to_text

    if (out is not None and kind is not None) or (check and out is None):
        raise typer.BadParameter("--out writes every kind, and --check needs it; name either a kind or --out DIR")
    if out is not None:
        settle({out / f"{name}.json": to_text(found) for name, found in schemas().items()}, check=check)
        return
    known = {kind.lower(): name for name, (_, kind) in names().items()} | {name: name for name in names()}
    name = COMBINED if kind is None else known.get(kind.lower())
    if name is None:
        raise typer.BadParameter(f"there is no kind {kind!r}; expected one of {', '.join(names())}")
    typer.echo(to_text(schemas()[name]), nl=False)
