"""`sloctl maintenance`: leaves SLOs out while somebody works on what they are about."""

import getpass
from typing import Annotated

import typer

from sloctl.cli.client import DEFAULT_URL, Url, call, fail


def maintenance(
    slos: Annotated[list[str] | None, typer.Argument(help="SLOs to leave out, or patterns with *.")] = None,
    lasts: Annotated[str, typer.Option("--for", help="When it ends by itself, such as 1h.")] = "1h",
    reason: Annotated[str, typer.Option(help="Why; it is kept with what was left out.")] = "",
    end: Annotated[int | None, typer.Option(help="End the maintenance of this number now.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Leave SLOs out for a while: what happens meanwhile counts neither as good nor as bad.

    Without arguments, show what is left out and what was. Planned times belong in files (kind: Maintenance).
    """
    if end is not None:
        call(url, f"/api/v1/maintenance/{end}", method="DELETE")
        typer.echo(f"maintenance {end} ended")
    elif slos:
        if not reason:
            fail("a reason is needed: --reason …; it is kept with what was left out")
        body = {"slos": slos, "for": lasts, "reason": reason, "by": getpass.getuser()}
        made = call(url, "/api/v1/maintenance", body)
        typer.echo(f"maintenance {made['id']} of {', '.join(slos)} until {made['ends']}")
    else:
        _show(url)


def _show(url: str) -> None:
    answer = call(url, "/api/v1/maintenance")
    for slo, why in answer["excluded"].items():
        typer.echo(f"left out: {slo} ({why})")
    if not answer["excluded"]:
        typer.echo("nothing is left out of any SLO")
    for each in answer["byHand"]:
        typer.echo(f"{each['id']:>5}  {', '.join(each['slos'])}  until {each['end']}  {each['reason']}")
    for event in answer["events"][:20]:
        typer.echo(f"{event['at']}  {event['action']}: {event['subject']}  {event['detail']}")
