"""`sloctl explain ID`: why a decision was taken, and what would have prevented it."""

import json
from typing import Annotated, Any

import typer

from sloctl.cli.client import DEFAULT_URL, Url, call


def explain(
    number: Annotated[int, typer.Argument(metavar="ID", min=1, help="The decision's number in `sloctl decisions`.")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Explain a decision: its reason and facts, the rule as it stood, what the arbiter weighed, and which threshold
    would have to be another to prevent it, by the facts of that moment.
    """
    from sloctl.policy.account import preventions, weighed

    record = call(url, f"/api/v1/decisions/{number}")
    told = {"weighed": weighed(record), "preventions": preventions(record)}
    if as_json:
        typer.echo(json.dumps(record | told, indent=2))
        return
    mark = " (dry run)" if record["dryRun"] else ""
    change = f"{record['before']} → {record['after']}"
    typer.echo(f"{record['id']}  {record['at']}  {record['model']}  {record['action']}{mark}: {change}")
    _section("why", [record["reason"]])
    _section("facts", [f"{name} = {_told(value)}" for name, value in record["facts"].items()])
    _section(f"by {record['rule']} of {record['policy']}", _rule(record["context"]))
    _section("the arbiter", told["weighed"])
    _section("what would have prevented it", told["preventions"])


_SHOWN = ("when", "until", "for", "severity", "load", "burn", "maxBurn", "margin", "hysteresis", "capacity", "maximise")


def _rule(context: dict[str, Any]) -> list[str]:
    return [f"{name}: {context[name]}" for name in _SHOWN if context.get(name) is not None]


def _told(value: object) -> object:
    return "unknown" if value is None else value


def _section(title: str, lines: list[str]) -> None:
    if lines:
        typer.echo(title)
        for line in lines:
            typer.echo(f"  {line}")
