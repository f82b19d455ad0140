"""V2 over HTTP, as a bare ASGI callable: a framework's routing would cost more than the inference."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import orjson
import structlog

from sloctl.engines.base import Tensor
from sloctl.serving.asked import Asked, twice
from sloctl.serving.dataplane import DataPlane
from sloctl.serving.decode import Envelope, Wanted, parse
from sloctl.serving.encode import Header
from sloctl.serving.errors import RequestError, draining, invalid
from sloctl.serving.model import ModelService
from sloctl.serving.pending import Client
from sloctl.serving.registry import Kind
from sloctl.serving.tracing import RequestTracer
from sloctl.serving.variant import VERSION, Variant

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, list[Header], bytes]  # status, headers and body

log = structlog.get_logger("sloctl.serving")
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")
_UNSUPPORTED = ("trace", "logging")
_SHARED = re.compile(r"/v2/(system|cuda)sharedmemory(?:/region/(.+))?/(status|register|unregister)", re.DOTALL)
_STOPPED_HALFWAY = RequestError(499, "the client went away", outcome="cancelled")


class _MethodError(RequestError):
    """Names the method that is allowed, as RFC 9110 wants."""

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(405, f"method {method} is not allowed here; expected {allowed}")
        self.allowed = allowed


class _Call:
    """An inference request and its response over HTTP."""

    __slots__ = ("body", "json_length")

    def __init__(self, body: bytes, json_length: int | None) -> None:
        self.body, self.json_length = body, json_length

    def read(self) -> tuple[Envelope, memoryview]:
        return parse(self.body, self.json_length)

    def answer(
        self, variant: Variant, request_id: str, outputs: Mapping[str, Tensor], wants: Wanted
    ) -> tuple[list[Header], bytes]:
        return variant.encoder.encode(request_id, outputs, wants)


class HttpApp:
    """The ASGI application. Bodies above `max_body` bytes are refused before they are read."""

    def __init__(self, plane: DataPlane, max_body: int, tracer: RequestTracer | None = None) -> None:
        self._plane = plane
        self._tracer = tracer
        self._max_body = max_body
        self._asking = plane.headers.names if plane.headers else frozenset()
        self.infer_paths: dict[str, ModelService] = {}
        for name, model in plane.models.items():
            self.infer_paths[f"/v2/models/{name}/infer"] = model
            self.infer_paths[f"/v2/models/{name}/versions/{VERSION}/infer"] = model
        self.infer_urls = frozenset(path.encode() for path in self.infer_paths)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        path = scope["path"]
        if path in self.infer_paths and scope["method"] == "POST":
            found = await self.infer(path, scope["headers"], receive, _client(receive))
        else:
            found = await self._other(scope, receive)
        if found is None:
            return
        status, headers, body = found
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _other(self, scope: Message, receive: Receive) -> Answer | None:
        try:
            if (shared := _SHARED.fullmatch(scope["path"])) is not None:
                return 200, *_json(await self._shared_memory(scope["method"], shared, receive))
            return 200, *_json(self._answer(scope["method"], scope["path"]))
        except RequestError as error:
            return None if error is _STOPPED_HALFWAY else (error.status, *_error(error))
        except Exception:
            return _broken(scope["path"])

    # Inference

    async def infer(
        self, path: str, headers: list[Header], body: bytes | Receive, client: Client | None
    ) -> Answer | None:
        """The answer to an inference request, whose body may be still to come; None where nobody waits for it."""
        plane, model, trace, reason = self._plane, self.infer_paths[path], None, ""
        started = plane.clock()
        if self._tracer is not None:
            trace = self._tracer.begin(model.name, headers, started)
        try:
            call, asked = await self._read(model, headers, body)
            answer: Answer = 200, *await plane.infer(model, call, started, client, trace, asked)
        except RequestError as error:
            if error.outcome == "cancelled":
                return None
            answer, reason = (error.status, *_error(error)), error.reason
        except asyncio.CancelledError:  # by the server, when its patience with those in flight is at an end
            stopped = draining("the server stops and waits no longer")
            answer, reason = (stopped.status, *_error(stopped)), stopped.reason
        except Exception:
            answer = _broken(path)
        if trace is not None and self._tracer is not None:
            self._tracer.end(trace, path, answer[0], reason)
        return answer

    async def _read(self, model: ModelService, headers: list[Header], body: bytes | Receive) -> tuple[_Call, Asked]:
        """The request, and what its headers ask for."""
        try:
            json_length, asked = self.check_headers(headers)
            if not isinstance(body, bytes):
                body = await self._rest(await body(), body)
            elif len(body) > self._max_body:
                raise self._too_large()
            return _Call(body, json_length), asked
        except RequestError as error:
            self._plane.count(model, error.outcome)
            raise

    def check_headers(self, headers: list[Header]) -> tuple[int | None, Asked]:
        """The length of the JSON before binary tensors (None without them), and what else they ask for.

        Raises RequestError.
        """
        json_length, asking = None, self._asking
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in asking:
                if name in found:
                    raise twice(name)
                found[name] = value
            elif name == b"content-length":
                if len(value) > 15 or int(value) > self._max_body:  # the parser saw to it that these are digits
                    raise self._too_large()
            elif name == b"inference-header-content-length":
                if not value.isdigit() or len(value) > 15:
                    raise invalid("Inference-Header-Content-Length is not a whole number")
                json_length = int(value)
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise RequestError(415, "compressed requests are not supported; send them as they are")
        return json_length, self._plane.asked(found)

    async def _rest(self, message: Message, receive: Receive) -> bytes:
        """Reads on until the body is whole, and no further than it may be long."""
        parts, size = [], 0
        while True:
            if message["type"] == "http.disconnect":
                raise _STOPPED_HALFWAY
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_body:
                raise self._too_large()
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()

    def _too_large(self) -> RequestError:
        limit = f"serving.maxBodyBytes is {self._max_body}"
        return RequestError(413, f"the body is too large: {limit}")

    # Shared memory

    async def _shared_memory(self, method: str, path: re.Match[str], receive: Receive) -> Any:
        """The system and CUDA shared memory extensions; None is an empty body."""
        regions = self._plane.regions
        kind: Kind = "system" if path[1] == "system" else "cuda"
        name, verb = path[2], path[3]
        _only(method, "GET" if verb == "status" else "POST")
        if verb == "status":
            return regions.status(kind, name)
        if verb == "unregister":
            return regions.unregister(kind, name)
        if name is None:
            raise _nothing_at(path[0])
        return await regions.register(kind, name, await self._rest(await receive(), receive))

    # Everything else

    def _answer(self, method: str, path: str) -> Any:
        """What a path says; None is an empty body."""
        parts = path.strip("/").split("/")
        if parts[0] != "v2":
            raise _nothing_at(path)
        if parts[1:2] == ["models"]:
            return self._about_models(method, path, parts[2:])
        if parts[1:2] == ["repository"]:
            return self._repository(method, path, parts[2:])
        if parts[1:2] and parts[1] in _UNSUPPORTED:
            raise RequestError(501, f"{parts[1]} is not supported")
        plane = self._plane
        found: dict[tuple[str, ...], Callable[[], Any]] = {
            (): plane.server_metadata,
            ("health", "live"): plane.check_live,
            ("health", "ready"): plane.check_ready,
        }
        answer = found.get(tuple(parts[1:]))
        if answer is None:
            raise _nothing_at(path)
        _only(method, "GET")
        return answer()

    def _about_models(self, method: str, path: str, parts: list[str]) -> Any:
        plane = self._plane
        if parts == ["stats"]:
            _only(method, "GET")
            return plane.statistics()
        if not parts:
            raise _nothing_at(path)
        version = None
        name, *rest = parts
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = rest[1], rest[2:]
        model = plane.model(name, version)
        found: dict[tuple[str, ...], Callable[[ModelService], Any]] = {
            (): plane.model_metadata,
            ("ready",): plane.check_ready,
            ("config",): plane.model_config,
            ("stats",): plane.statistics,
        }
        answer = found.get(tuple(rest))
        if answer is None:
            if rest == ["infer"]:
                _only(method, "POST")
            raise _nothing_at(path)
        _only(method, "GET")
        return answer(model)

    def _repository(self, method: str, path: str, parts: list[str]) -> Any:
        if parts == ["index"]:
            _only(method, "POST")
            return self._plane.repository_index()
        if parts[:1] == ["models"] and parts[2:] in (["load"], ["unload"]):
            raise RequestError(501, "models are loaded from the configuration; loading by request is not supported")
        raise _nothing_at(path)


def _client(receive: Receive) -> Client | None:
    """The connection, where the server lets one see it.

    ASGI tells of a lost client only to those that await `receive` all the while, which would be one more task
    for each request; uvicorn's own object has it as an attribute.
    """
    owner = getattr(receive, "__self__", None)
    return owner if hasattr(owner, "disconnected") else None


def _only(method: str, allowed: str) -> None:
    if method != allowed:
        raise _MethodError(method, allowed)


def _nothing_at(path: str) -> RequestError:
    return RequestError(404, f"nothing is at {path}")


def _json(value: Any) -> tuple[list[Header], bytes]:
    body = b"" if value is None else orjson.dumps(value)
    return [_JSON, (b"content-length", b"%d" % len(body))], body


def told(message: str, reason: str, wait: int | None) -> tuple[list[Header], bytes]:
    """Headers and body of a refusal; `wait` is in milliseconds."""
    said: dict[str, str | float] = {"error": message, "reason": reason}
    if wait is not None:
        said["retry_after"] = wait / 1000
    headers, body = _json(said)
    if wait is not None:
        # RFC 9110 has whole seconds; the other one is what several vendors' clients read for less.
        headers.append((b"retry-after", b"%d" % -(-wait // 1000)))
        headers.append((b"retry-after-ms", b"%d" % wait))
    return headers, body


def _broken(path: str) -> Answer:
    log.exception("request failed", path=path)
    failed = RequestError(500, "internal error", outcome="error", reason="internal")
    return 500, *_error(failed)


def _error(error: RequestError) -> tuple[list[Header], bytes]:
    headers, body = told(error.message, error.reason, error.retry_after_ms)
    if isinstance(error, _MethodError):
        headers.append((b"allow", error.allowed.encode()))
    if error.status == 413:
        headers.append(_CLOSE)  # the rest of the body is not worth reading
    return headers, body
