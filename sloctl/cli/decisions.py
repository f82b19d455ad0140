"""`sloctl decisions`: what the controller decided, and why."""

import json
from typing import Annotated

import typer

from sloctl.cli.client import DEFAULT_URL, Url, call


def decisions(
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000)] = 20,
    facts: Annotated[bool, typer.Option("--facts", help="Show the facts behind each.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List the latest decisions with their reasons, newest last."""
    query = f"/api/v1/decisions?limit={limit}" + (f"&model={model}" if model else "")
    found = call(url, query)["decisions"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    if not found:
        typer.echo("no decisions yet")
    for record in reversed(found):
        mark = " (dry run)" if record["dryRun"] else ""
        typer.echo(
            f"{record['id']:>5}  {record['at']}  {record['model']}  {record['action']}{mark}: "
            f"{record['before']} → {record['after']}  [{record['rule']}] {record['reason']}"
        )
        if facts:
            for name, value in record["facts"].items():
                typer.echo(f"       {name} = {value}")
