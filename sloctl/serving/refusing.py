"""Refusals at the connection: what is refused anyway is answered before there is a task for it.

Under overload most requests are refused, and what that costs the event loop is missing for those that are served. So
while a model refuses requests, the connection (`exchange`) asks first whether one that came whole would be refused. If
so the answer is written at once. If only letting it in can tell, it is answered like all others.
"""

from functools import lru_cache
from http import HTTPStatus

from sloctl.serving.dataplane import DataPlane
from sloctl.serving.decode import parse_parameters
from sloctl.serving.encode import Header
from sloctl.serving.errors import RequestError
from sloctl.serving.http import HttpApp, told
from sloctl.serving.model import ModelService
from sloctl.serving.tracing import RequestTracer

_REMEMBERED = 1024  # answers: most differ from one before in nothing, or in some milliseconds of Retry-After


class Refuser:
    """Knows the answers to requests that are refused."""

    def __init__(self, plane: DataPlane, app: HttpApp, tracer: RequestTracer | None = None) -> None:
        self._plane, self._app, self._tracer = plane, app, tracer
        self._models: dict[bytes, ModelService] = {path.encode(): model for path, model in app.infer_paths.items()}

    def expects(self, url: bytes) -> bool:
        """Whether requests for that are being refused."""
        model = self._models.get(url)
        return model is not None and model.refusing > 0

    def answer(self, url: bytes, headers: list[Header], body: bytes) -> bytes | None:
        """All that is written to refuse a request; None, and nothing is done, where only the application can tell."""
        plane, model = self._plane, self._models[url]
        now = plane.clock()
        try:
            json_length, asked = self._app.check_headers(headers)
            found = plane.refuse(model, asked, lambda: parse_parameters(body, json_length), now)
        except RequestError:  # which the application will find, too, and count
            return None
        if found is None:
            return None
        error, priority = found
        if self._tracer is not None and (trace := self._tracer.begin(model.name, headers, now)) is not None:
            trace.priority, trace.outcome = priority, error.outcome
            self._tracer.end(trace, url.decode(), error.status, error.reason)
        return _written(error.status, error.message, error.reason, error.retry_after_ms)


@lru_cache(_REMEMBERED)
def _written(status: int, message: str, reason: str, wait: int | None) -> bytes:
    headers, body = told(message, reason, wait)
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()), *map(b": ".join, headers), b"", body]
    return b"\r\n".join(lines)
