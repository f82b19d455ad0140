"""Spans of decisions, over OTLP where an endpoint is configured."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from sloctl import __version__


class DecisionTracer:
    """Records each decision as a span of its own. Without an exporter or endpoint it does nothing."""

    def __init__(self, endpoint: str | None = None, exporter: SpanExporter | None = None) -> None:
        self._provider: TracerProvider | None = None
        if exporter is None and endpoint:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces")
        if exporter is not None:
            resource = Resource.create({"service.name": "sloctl", "service.version": __version__})
            self._provider = TracerProvider(resource=resource)
            self._provider.add_span_processor(BatchSpanProcessor(exporter))

    def record(self, decision: Mapping[str, Any]) -> None:
        """Adds a span named after the action, with the decision's fields and facts as attributes."""
        if self._provider is None:
            return
        span = self._provider.get_tracer("sloctl").start_span(f"decision {decision['action']}")
        for key, value in decision.items():
            if key != "facts":
                span.set_attribute(f"sloctl.{key}", value if isinstance(value, bool | int | float) else str(value))
        for fact, value in decision["facts"].items():
            span.set_attribute(f"sloctl.fact.{fact}", value)
        span.end()

    def close(self) -> None:
        """Sends what is left."""
        if self._provider is not None:
            self._provider.shutdown()
