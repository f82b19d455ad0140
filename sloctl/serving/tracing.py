"""Spans of sampled requests, made after the fact: what is not sampled pays for a comparison, nothing else.

A request is a SERVER span with children for its time in the queue and its engine run, whose events are the slowest
layers of the variant's last profile. A W3C `traceparent` decides by its flag; without one, the configured share.
"""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sloctl.engines.base import Execution
from sloctl.serving.variant import Variant

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

_MOST_LAYERS = 32


@dataclass(slots=True)
class Run:
    """The batch that a request ran in: `began` and `ended` in the data plane's clock."""

    variant: Variant
    rows: int
    execution: Execution
    began: float
    ended: float


@dataclass(slots=True)
class Trace:
    """A sampled request, as it goes along."""

    parent: "Context | None"
    started: float
    model: str
    priority: int = 0
    outcome: str = ""
    enqueued: float = 0.0
    run: Run | None = None


class RequestTracer:
    """Chooses requests and makes their spans. `clock` is the data plane's."""

    def __init__(
        self, tracer: "Tracer", share: float, clock: Callable[[], float], draw: Callable[[], float] = random.random
    ) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer, self._share, self._clock, self._draw = tracer, share, clock, draw
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, model: str, headers: Iterable[tuple[bytes, bytes]], started: float) -> Trace | None:
        """The trace of a request that shall have one."""
        given = next((value for name, value in headers if name == b"traceparent"), None)
        if given is None:
            return Trace(None, started, model) if self._draw() < self._share else None
        from opentelemetry.trace import get_current_span

        parent = self._propagator.extract({"traceparent": given.decode("latin-1")})
        context = get_current_span(parent).get_span_context()
        if not context.is_valid:  # as if there were none, says the specification
            return Trace(None, started, model) if self._draw() < self._share else None
        return Trace(parent, started, model) if context.trace_flags.sampled else None

    def end(self, trace: Trace, path: str, status: int, reason: str = "") -> None:
        """Makes the spans of a request that was answered just now."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

        now = self._clock()
        epoch = time.time_ns() - round(now * 1e9)

        def at(moment: float) -> int:
            return epoch + round(moment * 1e9)

        attributes: dict[str, Any] = {
            "http.request.method": "POST",
            "url.path": path,
            "http.response.status_code": status,
            "sloctl.model": trace.model,
            "sloctl.priority": trace.priority,
            "sloctl.outcome": trace.outcome,
        }
        attributes |= {"sloctl.reason": reason} if reason else {}
        span = self._tracer.start_span(
            "POST /v2/models/{model}/infer",
            context=trace.parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=at(trace.started),
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR, reason or None))
        if trace.run is not None:
            span.set_attribute("sloctl.variant", trace.run.variant.name)
            inside = set_span_in_context(span)
            queue = self._tracer.start_span("queue", context=inside, start_time=at(trace.enqueued))
            queue.end(at(trace.run.began))
            self._engine(trace.run, inside, at)
        span.end(at(now))

    def _engine(self, run: Run, inside: "Context", at: Callable[[float], int]) -> None:
        attributes: dict[str, Any] = {
            "sloctl.variant": run.variant.name,
            "sloctl.rows": run.rows,
            "sloctl.context": run.execution.context,
            "sloctl.device_seconds": run.execution.engine_seconds,
            "sloctl.enqueue_seconds": run.execution.enqueue_seconds,
        }
        span = self._tracer.start_span("engine", context=inside, attributes=attributes, start_time=at(run.began))
        if run.variant.profile is not None:
            taken, layers = run.variant.profile
            span.set_attribute("sloctl.layers_sampled_seconds_ago", round(run.ended - taken, 3))
            for layer in sorted(layers, key=lambda each: -each.seconds)[:_MOST_LAYERS]:
                about: dict[str, Any] = {"sloctl.layer.kind": layer.kind, "sloctl.layer.seconds": layer.seconds}
                span.add_event(layer.name, about, timestamp=at(run.ended))
        span.end(at(run.ended))
