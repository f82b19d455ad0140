"""Talks to a running daemon's control plane, for the commands that ask or tell it something."""

import json
import os
import urllib.error
import urllib.request
from typing import Annotated, Any, NoReturn

import typer

DEFAULT_URL = "http://127.0.0.1:8002"

Url = Annotated[str, typer.Option("--url", envvar="SLOCTL_URL", help="The control plane's address.")]
"""The option that all these commands share. The token comes from SLOCTL_TOKEN."""

# Loopback by default: a proxy from the environment must not come between.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url: str, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """GETs, or POSTs a JSON body; ends the program with a message and status 1 when refused or unreachable."""
    headers = {"content-type": "application/json"}
    if token := os.environ.get("SLOCTL_TOKEN"):
        headers["authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url.rstrip("/") + path, data, headers, method=method)  # noqa: S310  the user names it
    try:
        with _opener.open(request, timeout=10) as response:
            answer = response.read()
    except urllib.error.HTTPError as error:
        fail(_message(error))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        fail(f"no daemon answers at {url} ({reason}); start one with `sloctl serve`, or name it with --url")
    return json.loads(answer) if answer else None


def fail(message: str) -> NoReturn:
    """Prints an error for people and ends with status 1."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(1)


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the daemon answered {error.code} {error.reason}"
