"""`sloctl layers MODEL`: where the time of a model goes, layer by layer."""

import json
from typing import Annotated, Any

import typer

from sloctl.cli.client import DEFAULT_URL, Url, call, fail

_BAR = 30


def layers(
    model: Annotated[str, typer.Argument(help="The model.")],
    variant: Annotated[str | None, typer.Option(help="A variant; by default the one that serves.")] = None,
    top: Annotated[int, typer.Option("-n", "--top", min=1, help="How many layers.")] = 20,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show sampled layer times, slowest first, with bars."""
    answer = call(url, f"/api/v1/layers/{model}")
    chosen = variant or answer["serving"]
    if chosen not in answer["variants"]:
        fail(f"{model} has no variant {chosen!r}; it has {', '.join(answer['variants'])}")
    found = answer["variants"][chosen]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif not found:
        typer.echo(f"no profile of {model}/{chosen} yet; one is sampled every profile.interval")
    else:
        _show(f"{model}/{chosen}", found, top)


def _show(title: str, found: list[dict[str, Any]], top: int) -> None:
    from rich.console import Console
    from rich.table import Table

    ranked = sorted(found, key=lambda layer: -layer["meanSeconds"])
    total = sum(layer["meanSeconds"] for layer in ranked) or 1.0
    table = Table(title=f"{title}: {total * 1e3:.2f} ms in {len(ranked)} layers", title_justify="left")
    for name, justify in (
        ("layer", "left"),
        ("mean", "right"),
        ("share", "right"),
        ("samples", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify, no_wrap=name != "layer")  # type: ignore[arg-type]
    for layer in ranked[:top]:
        share = layer["meanSeconds"] / total
        bar = "█" * max(1, round(_BAR * layer["meanSeconds"] / ranked[0]["meanSeconds"]))
        table.add_row(
            layer["layer"], f"{layer['meanSeconds'] * 1e6:.0f} µs", f"{share:.1%}", str(layer["samples"]), bar
        )
    rest = sum(layer["meanSeconds"] for layer in ranked[top:])
    if rest:
        table.add_row(f"{len(ranked) - top} more", f"{rest * 1e6:.0f} µs", f"{rest / total:.1%}", "", "")
    Console().print(table)
