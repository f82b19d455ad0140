"""`sloctl override`: sets a state by hand, for a while."""

from typing import Annotated, Any

import typer

from sloctl.cli.client import DEFAULT_URL, Url, call, fail


def override(
    model: Annotated[str | None, typer.Argument(help="The model.")] = None,
    variant: Annotated[str | None, typer.Option(help="Serve with this variant.")] = None,
    tier: Annotated[list[str] | None, typer.Option(help="CLASS=VARIANT, such as low=int8; repeatable.")] = None,
    admit: Annotated[list[str] | None, typer.Option(help="CLASS=SHARE, such as low=0.2; repeatable.")] = None,
    breaker: Annotated[str | None, typer.Option(help="force_open, disable, metrics_only or close.")] = None,
    expires: Annotated[str, typer.Option(help="When it ends by itself, such as 30m.")] = "30m",
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit log.")] = "",
    clear: Annotated[int | None, typer.Option(help="End the override of this number.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Hold a variant, those of classes, admitted shares or the breaker by hand; without options, list what is held.

    What is held ends by itself.
    """
    if clear is not None:
        call(url, f"/api/v1/overrides/{clear}", method="DELETE")
        typer.echo(f"override {clear} ended")
        return
    wanted = _wanted(variant, tier, admit, breaker)
    if not wanted:
        _list(url)
        return
    if model is None:
        fail("which model? name it: sloctl override MODEL --variant …")
    for kind, value in wanted.items():
        body = {"model": model, "kind": kind, "value": value, "expires": expires, "reason": reason}
        made = call(url, "/api/v1/overrides", body)
        typer.echo(f"override {made['id']}: {model} {kind} = {value}, until {made['expires']}")


def _wanted(
    variant: str | None, tiers: list[str] | None, admit: list[str] | None, breaker: str | None
) -> dict[str, Any]:
    wanted: dict[str, Any] = {}
    if variant:
        wanted["variant"] = variant
    if tiers:
        wanted["tiers"] = dict(_tier(item) for item in tiers)
    if admit:
        wanted["admit"] = dict(_share(item) for item in admit)
    if breaker:
        wanted["breaker"] = breaker
    return wanted


def _tier(item: str) -> tuple[str, str]:
    name, _, variant = item.partition("=")
    if not variant:
        fail(f"--tier {item}: expected CLASS=VARIANT, such as low=int8")
    return name, variant


def _share(item: str) -> tuple[str, float]:
    name, _, value = item.partition("=")
    try:
        return name, float(value)
    except ValueError:
        fail(f"--admit {item}: expected CLASS=SHARE, such as low=0.2")


def _list(url: str) -> None:
    held = call(url, "/api/v1/overrides")["overrides"]
    if not held:
        typer.echo("no overrides in force")
    for record in held:
        held_state = f"{record['model']} {record['kind']} = {record['value']}"
        typer.echo(f"{record['id']:>5}  {held_state}  until {record['expires']}  {record['reason']}")
