"""`sloctl layers MODEL`: where the time of a model goes, layer by layer, and what differs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from sloctl.cli.client import DEFAULT_URL, Url, call, fail

if TYPE_CHECKING:
    from rich.table import Table

_BAR = 30
Layer = dict[str, Any]


def layers(
    model: Annotated[str, typer.Argument(help="The model.")],
    variant: Annotated[str | None, typer.Option(help="A variant; by default the one that serves.")] = None,
    compare: Annotated[str | None, typer.Option(help="Another variant, shown beside it.")] = None,
    since: Annotated[str | None, typer.Option(help="Compare the time since then, such as 10m, with before.")] = None,
    top: Annotated[int, typer.Option("-n", "--top", min=1, help="How many layers.")] = 20,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show sampled layer times, slowest first: of one variant, of two, or of one before and after.

    Layers of two variants are matched by the model's own nodes in them, since each precision fuses in its own way.
    """
    if compare and since:
        fail("--compare and --since are two comparisons; ask for one of them")
    answer = call(url, f"/api/v1/layers/{quote(model)}" + (f"?since={quote(since)}" if since else ""))
    chosen = variant or answer["serving"]
    for name in filter(None, (chosen, compare)):
        if name not in answer["variants"]:
            fail(f"{model} has no variant {name!r}; it has {', '.join(answer['variants'])}")
    found = answer["variants"][chosen]
    others = answer["variants"][compare] if compare else []
    if as_json:
        typer.echo(json.dumps({chosen: found, compare: others} if compare else found, indent=2))
    elif not found or (compare and not others):
        missing = compare if found else chosen
        typer.echo(f"no profile of {model}/{missing} yet; one is sampled every profile.interval")
    elif compare:
        _show_pairs(f"{model}: {chosen} and {compare}", (chosen, compare), matched(found, others), top)
    elif since:
        _show_pairs(f"{model}/{chosen}", ("before", f"last {since}"), [_over_time(layer) for layer in found], top)
    else:
        _show(f"{model}/{chosen}", found, top)


@dataclass(frozen=True, slots=True)
class Pair:
    """The same work on both sides: the layers that do it, and their seconds (None: nothing sampled)."""

    names: tuple[str, str]
    seconds: tuple[float | None, float | None]

    @property
    def difference(self) -> float:
        """Seconds that the right side takes more."""
        left, right = self.seconds
        return (right or 0.0) - (left or 0.0)


def _over_time(layer: Layer) -> Pair:
    return Pair((layer["layer"], ""), (layer["meanSecondsBefore"], layer["meanSeconds"]))


def matched(left: Sequence[Layer], right: Sequence[Layer]) -> list[Pair]:
    """Layers of two variants that share nodes of the model, directly or through others, in one pair each."""
    groups: list[tuple[set[str], list[Layer], list[Layer]]] = []
    for side, layer in [*((0, layer) for layer in left), *((1, layer) for layer in right)]:
        nodes = set(layer["nodes"]) or {f"{side} {layer['layer']}"}
        mine: tuple[set[str], list[Layer], list[Layer]] = (nodes, [], [])
        (mine[1] if side == 0 else mine[2]).append(layer)
        for other in [group for group in groups if group[0] & nodes]:
            groups.remove(other)
            mine = (other[0] | mine[0], other[1] + mine[1], other[2] + mine[2])
        groups.append(mine)
    return [Pair((_names(ours), _names(theirs)), (_sum(ours), _sum(theirs))) for _, ours, theirs in groups]


def _names(layers: Iterable[Layer]) -> str:
    return "; ".join(layer["layer"] for layer in layers)


def _sum(layers: Sequence[Layer]) -> float | None:
    known = [layer["meanSeconds"] for layer in layers if layer["meanSeconds"] is not None]
    return sum(known) if known else None


def _table(title: str, columns: Sequence[tuple[str, bool]]) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name, number in columns:
        table.add_column(name, justify="right" if number else "left", no_wrap=number)
    return table


def _print(table: "Table") -> None:
    from rich.console import Console

    Console().print(table)


def _show_pairs(title: str, sides: tuple[str, str], pairs: Sequence[Pair], top: int) -> None:
    """The pairs that differ most, first."""
    ranked = sorted(pairs, key=lambda pair: -abs(pair.difference))
    names = any(pair.names[1] for pair in pairs)
    titles = [f"layers of {sides[0]}", f"layers of {sides[1]}"] if names else ["layer"]
    columns = [(name, False) for name in titles] + [(side, True) for side in sides] + [("ratio", True)]
    totals = [sum(pair.seconds[side] or 0.0 for pair in pairs) for side in (0, 1)]
    table = _table(f"{title}: {totals[0] * 1e3:.2f} ms and {totals[1] * 1e3:.2f} ms", columns)
    for pair in ranked[:top]:
        before, after = pair.seconds
        ratio = f"{after / before:.2f}" if before and after is not None else ""
        table.add_row(*pair.names[: len(titles)], *(_microseconds(value) for value in pair.seconds), ratio)
    if len(ranked) > top:
        table.add_row(f"{len(ranked) - top} more")
    _print(table)


def _microseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:.0f} µs"


def _show(title: str, found: Sequence[Layer], top: int) -> None:
    ranked = sorted((layer for layer in found if layer["samples"]), key=lambda layer: -layer["meanSeconds"])
    total = sum(layer["meanSeconds"] for layer in ranked) or 1.0
    columns = [("layer", False), ("kind", False), ("mean", True), ("share", True), ("samples", True), ("", False)]
    table = _table(f"{title}: {total * 1e3:.2f} ms in {len(ranked)} layers", columns)
    for layer in ranked[:top]:
        share = layer["meanSeconds"] / total
        bar = "█" * max(1, round(_BAR * layer["meanSeconds"] / ranked[0]["meanSeconds"]))
        drift = f" drifts: {layer['driftRatio']:.2f} of its baseline" if layer["drifting"] else ""
        mean, samples = _microseconds(layer["meanSeconds"]), str(layer["samples"])
        table.add_row(layer["layer"], layer["kind"], mean, f"{share:.1%}", samples, bar + drift)
    rest = sum(layer["meanSeconds"] for layer in ranked[top:])
    if rest:
        table.add_row(f"{len(ranked) - top} more", "", _microseconds(rest), f"{rest / total:.1%}", "", "")
    _print(table)
