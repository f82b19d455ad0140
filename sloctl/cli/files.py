"""Files that a command writes."""

from pathlib import Path

import typer


def replace(path: Path, text: str) -> None:
    """A file with another text, whole or not at all, since others may read it at any moment.

    It keeps its mode; through a link, what that leads to is replaced. Exits with 3 where it cannot be written.
    """
    target = path.resolve()
    draft = target.with_name(f".{target.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        if target.exists():
            draft.chmod(target.stat().st_mode & 0o7777)
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        typer.echo(f"error: cannot write {path}: {error.strerror}", err=True)
        raise typer.Exit(3) from None
