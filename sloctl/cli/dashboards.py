"""`sloctl dashboards`: Grafana dashboards and the metrics reference, from the metric catalogue."""

from pathlib import Path
from typing import Annotated

import typer


def dashboards(
    out: Annotated[Path | None, typer.Option(help="Folder to write the dashboards into.")] = None,
    docs: Annotated[Path | None, typer.Option(help="File to write the metrics reference into.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; say which files are not current.")] = False,
) -> None:
    """Write Grafana dashboards as JSON files to provision, and the metrics reference.

    Exit status: 0 written or current, 1 not current, 2 wrong usage, 3 a file cannot be written.
    """
    from sloctl.cli.generated import settle

    if out is None and docs is None:
        raise typer.BadParameter("nothing to do: name --out DIR, --docs FILE or both")
    wanted = generated(out, docs)
    settle(wanted, check=check)


def generated(out: Path | None, docs: Path | None) -> dict[Path, str]:
    """The text of every file that belongs into `out`, and of `docs`."""
    from sloctl_exporters import grafana

    files: dict[Path, str] = {}
    if out is not None:
        files |= {out / f"{board['uid']}.json": grafana.to_json(board) for board in grafana.dashboards()}
    if docs is not None:
        files[docs] = grafana.metrics_reference()
    return files
