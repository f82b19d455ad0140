"""`sloctl advise`: the batch size with the best throughput within a latency objective and a share of memory."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sloctl.cli.client import fail
from sloctl.cli.import_model import name_of

if TYPE_CHECKING:
    from sloctl.build.advice import Advice, Point
    from sloctl.engines.manifest import Manifest

_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def advise(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    objective: Annotated[str, typer.Option(help="What a request may take, such as 20ms.")],
    repository: Annotated[Path, typer.Option(help="The repository's folder.")] = Path("repository"),
    memory: Annotated[str, typer.Option(help="Share of the device's memory, or bytes such as 4GiB.")] = "70%",
    batch_wait: Annotated[str, typer.Option(help="The daemon's batchWait.")] = "0s",
    svg: Annotated[Path | None, typer.Option(help="Draw the curves into this file.")] = None,
) -> None:
    """Advise a batch size for every measured variant of a model.

    A request is taken to wait for one running batch and then for its own: twice the measured p99.

    Exit status: 0 every measured variant has a batch size that fits, 1 nothing could be read, 3 a variant has none.
    """
    from sloctl.build.advice import advise as advice_for
    from sloctl.build.curve import draw

    limit, wait = _duration("objective", objective), _duration("batch-wait", batch_wait)
    manifests = _manifests(repository / name_of("model", model))
    found = [
        advice_for(name, manifest, objective=limit, budget=_budget(memory, manifest), wait=wait)
        for name, manifest in manifests.items()
    ]
    for advice in found:
        _show(advice, manifests[advice.variant], limit, _budget(memory, manifests[advice.variant]))
    if svg:
        try:
            svg.write_text(draw(f"{model}: throughput and latency by batch size", found, limit), encoding="utf-8")
        except OSError as error:
            fail(f"cannot write {svg}: {error.strerror}")
    raise typer.Exit(0 if all(advice.best for advice in found) else 3)


def _duration(option: str, text: str) -> float:
    from sloctl.config.base import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError as error:
        fail(f"--{option} {text!r}: {error}")
    if option == "objective" and seconds <= 0:
        fail(f"--{option} {text!r}: expected more than nothing")
    return seconds


def _budget(memory: str, manifest: "Manifest") -> float | None:
    """Bytes; None where a share is asked for and nobody knows of what."""
    share = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", memory)
    if share:
        return manifest.device_memory_bytes and manifest.device_memory_bytes * float(share[1]) / 100
    size = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(B|KiB|MiB|GiB)", memory)
    if size is None:
        fail(f"--memory {memory!r}: expected a share such as 70%, or a size such as 4GiB")
    return float(size[1]) * _UNITS[size[2]]


def _manifests(folder: Path) -> "dict[str, Manifest]":
    """Of all variants that were measured; says of the others why not."""
    from sloctl.engines.manifest import NAME, ManifestError, read_manifest

    found = {}
    for path in sorted(folder.glob(f"*/{NAME}")):
        name = path.parent.name
        if name.startswith(".") or ".replaced-" in name:
            continue
        try:
            manifest = read_manifest(path.parent)
        except ManifestError as error:
            fail(str(error))
        if manifest.latency_seconds:
            found[name] = manifest
        else:
            typer.echo(f"{name}: {manifest.unmeasured or 'there is no latency table'}", err=True)
    if not found:
        fail(f"{folder}: there is no measured variant; make one with `sloctl build` or `sloctl import`")
    return found


def _show(advice: "Advice", manifest: "Manifest", objective: float, budget: float | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{advice.variant} on {manifest.device_name}", title_justify="left")
    for heading in ("batch", "p50", "p99", "runs", "a request", "rows/s", "memory", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for point in advice.points:
        runs = str(manifest.latency_runs.get(point.batch, "-"))
        table.add_row(
            str(point.batch), _ms(point.p50), _ms(point.p99), runs, _ms(point.latency), f"{point.throughput:,.0f}",
            f"{point.memory / _UNITS['MiB']:,.0f} MiB", _verdict(point, advice, objective, budget),
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(_sentence(advice, objective, budget), markup=False, highlight=False, soft_wrap=True)


def _verdict(point: "Point", advice: "Advice", objective: float, budget: float | None) -> str:
    if point == advice.best:
        return "best"
    if point.latency > objective:
        return "late"
    return "" if point.fits(objective, budget) else "memory"


def _sentence(advice: "Advice", objective: float, budget: float | None) -> str:
    within = f"{_ms(objective)} and " + (f"{budget / _UNITS['MiB']:,.0f} MiB" if budget else "unknown memory")
    if advice.best is None:
        return f"{advice.variant}: no measured batch size stays within {within}\n"
    best = advice.best
    return (
        f"{advice.variant}: maxBatch {best.batch}, {best.throughput:,.0f} rows a second at most, "
        f"a request within {_ms(best.latency)} (of {within})\n"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
