"""The control plane's HTTP: /metrics, /health/* and /api/v1/*.

Reads are open to whoever reaches the port (loopback by default); writes want a JSON body, and the bearer
token where one is configured, else that no web page of somebody else sends them (see `browsers`). Handlers run in
worker threads; the controller serialises them with its tick.
"""

import hmac
import json
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sloctl.config.base import parse_duration
from sloctl.control.browsers import stranger
from sloctl.control.controller import Controller, RequestError
from sloctl_exporters.prometheus import render

log = structlog.get_logger("sloctl.control")
_MOST_BODY = 64 * 1024
_MOST_NOTIFICATION = 2 * 1024 * 1024  # a thousand alerts of two kilobytes
_MOST_ROWS = 1000


class Api:
    """Handlers over a controller; `token` guards the writes, and `names` are what this service is called."""

    def __init__(self, controller: Controller, token: str | None, names: Collection[str] = ()) -> None:
        self._controller = controller
        self._token = token
        self._names = names

    def app(self) -> Starlette:
        """The ASGI application."""
        get, write = ["GET"], ["POST"]
        routes = [
            Route("/metrics", self.metrics, methods=get),
            Route("/health", self.health, methods=get),
            Route("/health/startup", self.startup, methods=get),
            Route("/health/live", self.live, methods=get),
            Route("/health/ready", self.ready, methods=get),
            Route("/api/v1/status", self.status, methods=get),
            Route("/api/v1/alerts", self.alerts, methods=get),
            Route("/api/v1/decisions", self.decisions, methods=get),
            Route("/api/v1/decisions/{number:int}", self.decision, methods=get),
            Route("/api/v1/layers/{model}", self.layers, methods=get),
            Route("/api/v1/overrides", self.overrides, methods=get),
            Route("/api/v1/overrides", self.add_override, methods=write),
            Route("/api/v1/maintenance", self.maintenance, methods=get),
            Route("/api/v1/maintenance", self.begin_maintenance, methods=write),
            Route("/api/v1/maintenance/{number:int}", self.end_maintenance, methods=["DELETE"]),
            Route("/api/v1/overrides/{number:int}", self.drop_override, methods=["DELETE"]),
            Route("/api/v1/alerts", self.take_alerts, methods=write),
            Route("/api/v1/faults", self.faults, methods=write),
            Route("/api/v1/reload", self.reload, methods=write),
        ]
        handlers = {HTTPException: _refuse, RequestError: _reject, ClientDisconnect: _gone, sqlite3.Error: _not_kept}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def metrics(self, request: Request) -> Response:
        """All families in the format that the scraper asks for."""
        families = await run_in_threadpool(self._controller.families)
        body, content_type = await run_in_threadpool(render, families, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    async def health(self, _: Request) -> Response:
        """Everything that is known of health, for people."""
        return JSONResponse(await run_in_threadpool(self._controller.describe_health))

    async def startup(self, _: Request) -> Response:
        """200 once the data plane has left its first loading."""
        health = self._controller.health
        return _probe(health.started, [] if health.started else health.reasons())

    async def live(self, _: Request) -> Response:
        """200 while this process answers; the supervisor sees to the data plane."""
        return _probe(True, [])

    async def ready(self, _: Request) -> Response:
        """200 while every model's serving variant stands on all five levels."""
        health = self._controller.health
        return _probe(health.ready, health.reasons())

    async def status(self, _: Request) -> Response:
        """The whole, for `sloctl status` and the demo."""
        return JSONResponse(await run_in_threadpool(self._controller.status))

    async def alerts(self, _: Request) -> Response:
        """The daemon's own alerts that are pending or firing, in the shape of Prometheus' API."""
        return JSONResponse(await run_in_threadpool(self._controller.alerts))

    async def decisions(self, request: Request) -> Response:
        """The latest decisions with their facts, newest first."""
        try:
            limit = min(max(int(request.query_params.get("limit", "50")), 1), _MOST_ROWS)
        except ValueError:
            raise HTTPException(400, "limit must be a number") from None
        model = request.query_params.get("model")
        return JSONResponse({"decisions": await run_in_threadpool(self._controller.decisions, limit, model)})

    async def decision(self, request: Request) -> Response:
        """One decision, for `sloctl explain`."""
        return JSONResponse(await run_in_threadpool(self._controller.decision, request.path_params["number"]))

    async def layers(self, request: Request) -> Response:
        """Layer times of a model's variants; with `since=10m`, of the last ten minutes and before that."""
        try:
            ago = parse_duration(request.query_params.get("since", "0s"))
        except ValueError as error:
            raise HTTPException(400, f"since: {error}") from None
        model = request.path_params["model"]
        return JSONResponse(await run_in_threadpool(self._controller.layers, model, ago))

    async def maintenance(self, _: Request) -> Response:
        """What is left out of SLOs, and what was."""
        return JSONResponse(await run_in_threadpool(self._controller.maintenance))

    async def begin_maintenance(self, request: Request) -> Response:
        """Leaves SLOs out for a while."""
        return await self._write(request, self._controller.begin_maintenance, status=201)

    async def end_maintenance(self, request: Request) -> Response:
        """Counts again."""
        self._authorise(request)
        await run_in_threadpool(self._controller.end_maintenance, request.path_params["number"])
        return Response(status_code=204)

    async def overrides(self, _: Request) -> Response:
        """Overrides in force."""
        return JSONResponse({"overrides": await run_in_threadpool(self._controller.overrides)})

    async def add_override(self, request: Request) -> Response:
        """Sets a state by hand, with an expiry."""
        return await self._write(request, self._controller.add_override, status=201)

    async def drop_override(self, request: Request) -> Response:
        """Ends an override."""
        self._authorise(request)
        await run_in_threadpool(self._controller.drop_override, request.path_params["number"])
        return Response(status_code=204)

    async def take_alerts(self, request: Request) -> Response:
        """Takes an Alertmanager's webhook. It retries after 5xx and no answer, so what is refused for good is 4xx."""
        self._authorise(request)
        body = await _json(request, _MOST_NOTIFICATION)
        return JSONResponse(await run_in_threadpool(self._controller.notify, body))

    async def faults(self, request: Request) -> Response:
        """Injects engine faults, where the configuration allows it."""
        return await self._write(request, self._controller.set_faults)

    async def reload(self, request: Request) -> Response:
        """Reads SLOs and policies anew, as SIGHUP does."""
        return await self._write(request, lambda _: self._controller.reload())

    async def _write(self, request: Request, act: Callable[[dict[str, Any]], Any], status: int = 200) -> Response:
        self._authorise(request)
        try:
            body = json.loads(await _json(request, _MOST_BODY) or b"{}")
            json.dumps(body, ensure_ascii=False).encode()  # half a character, as JSON may have, cannot be kept
        except (ValueError, RecursionError):
            raise HTTPException(400, "expected a JSON object") from None
        if not isinstance(body, dict):
            raise HTTPException(400, "expected a JSON object")
        return JSONResponse(await run_in_threadpool(act, body), status_code=status)

    def _authorise(self, request: Request) -> None:
        if self._token is None:
            headers = request.headers
            if who := stranger(headers.get("host", ""), headers.get("origin", ""), self._names):
                cure = "a name of its own belongs in alerts.externalUrl, or a token in control.tokenFile"
                raise HTTPException(403, f"a request {who} may change nothing: {cure}")
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._token or not hmac.compare_digest(given.encode(), self._token.encode()):
            raise HTTPException(401, "a valid bearer token is needed", {"www-authenticate": "Bearer"})


def read_token(path: Path | None) -> str | None:
    """The token in a file; None where none is configured, "" (no token opens it) where the file has none any more.

    A start of the daemon refuses such a file. A restart of this process alone has to go on without writes.
    """
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").strip()
        why = "" if token else "it is empty"
    except (OSError, ValueError) as error:
        token, why = "", str(error)
    if why:
        log.error("no token: all writes are refused until the daemon is restarted with one", file=str(path), why=why)
    return token


async def _json(request: Request, most: int) -> bytes:
    """The body of a request that says it is JSON, of at most so many bytes."""
    # A form on a web page cannot send this type without asking first.
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "expected content-type application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, f"the body is larger than {most} bytes")
    return bytes(body)


def _probe(good: bool, reasons: list[str]) -> Response:
    return JSONResponse({"ok": good, "reasons": reasons}, status_code=200 if good else 503)


async def _refuse(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    return JSONResponse({"error": getattr(error, "detail", "")}, status, getattr(error, "headers", None))


async def _reject(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, getattr(error, "status", 400))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # which nobody reads: the client went away, or took too long over its request


async def _not_kept(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"the store cannot be used: {error}; see docs/runbooks/SloctlStoreFailing.md"}, 503)
