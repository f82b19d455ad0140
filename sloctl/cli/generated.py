"""Files that are made from the source and kept beside it: written, or only held against what they should be."""

from collections.abc import Mapping
from pathlib import Path

import typer


def settle(wanted: Mapping[Path, str], *, check: bool) -> None:
    """Writes the files that are not current; with `check` only says which ones. Exits with 1 or 3 on failure."""
    stale = [path for path, text in wanted.items() if _text(path) != text]
    if check:
        for path in stale:
            typer.echo(f"{path} is not current; write it anew without --check", err=True)
        raise typer.Exit(1 if stale else 0)
    for path in stale:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        except OSError as error:
            typer.echo(f"error: cannot write {path}: {error.strerror}", err=True)
            raise typer.Exit(3) from None
    for path in wanted:
        typer.echo(f"{path} {'written' if path in stale else 'is current'}", err=True)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
