"""Spans over OTLP, where an endpoint is configured: where they go, and those of decisions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sloctl import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer


def signal_address(endpoint: str, signal: str) -> str:
    """The address of a signal (metrics, traces): `endpoint` with /v1/<signal>, unless it names the signal itself."""
    suffix, base = f"/v1/{signal}", endpoint.rstrip("/")
    return base if urlsplit(base).path.endswith(suffix) else base + suffix


def provider(endpoint: str, exporter: "SpanExporter | None" = None) -> "TracerProvider":
    """A tracer provider that sends spans in the background, in batches; the process-wide one stays as it is.

    What does not fit its queue while the collector is slow or away is dropped.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = exporter or OTLPSpanExporter(endpoint=signal_address(endpoint, "traces"), timeout=5)
    made = TracerProvider(resource=Resource.create({"service.name": "sloctl", "service.version": __version__}))
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


class DecisionTracer:
    """Records each decision as a span of its own.

    Without an endpoint (or an `exporter`) it does nothing, and OpenTelemetry is not even imported.
    """

    def __init__(self, endpoint: str | None = None, exporter: "SpanExporter | None" = None) -> None:
        self._tracer: Tracer | None = None
        if exporter is None and not endpoint:
            return
        self._provider = provider(endpoint or "", exporter)
        self._tracer = self._provider.get_tracer("sloctl", __version__)

    def record(self, decision: Mapping[str, Any]) -> None:
        """Adds a span named after the action: fields as `sloctl.<field>`, facts as `sloctl.fact.<name>`."""
        if self._tracer is None:
            return
        attributes = {f"sloctl.{key}": _plain(value) for key, value in decision.items() if key not in _APART}
        facts = {f"sloctl.fact.{name}": _plain(value) for name, value in decision.get("facts", {}).items()}
        self._tracer.start_span(f"decision {decision['action']}", attributes=attributes | facts).end()

    def close(self) -> None:
        """Sends what is left; a second call does nothing."""
        if self._tracer is not None:
            self._tracer = None
            self._provider.shutdown()


_APART = ("facts", "context")


def _plain(value: Any) -> str | bool | int | float:
    """What a span's attribute can hold."""
    return value if isinstance(value, str | bool | int | float) else str(value)
