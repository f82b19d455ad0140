"""Spans of decisions."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sloctl.telemetry.tracing import DecisionTracer

DECISION = {
    "id": 3,
    "policy": "digits",
    "action": "precision.down",
    "before": "fp32",
    "after": "int8",
    "dry_run": False,
    "shares": {"low": 0.5},
    "facts": {"burn_rate": 14.5, "health": "ready", "gone": None, "nothing": float("nan")},
}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[DecisionTracer]:
    found = DecisionTracer(exporter=exporter)
    yield found
    found.close()


def test_a_decision_is_a_span_with_its_fields_and_facts(tracer: DecisionTracer, exporter: InMemorySpanExporter) -> None:
    tracer.record(DECISION)
    tracer.close()
    (span,) = exporter.get_finished_spans()
    assert span.name == "decision precision.down"
    assert span.resource.attributes["service.name"] == "sloctl"
    attributes = dict(span.attributes or {})
    assert attributes.pop("sloctl.fact.nothing") != 0  # NaN is kept
    assert attributes == {
        "sloctl.id": 3,
        "sloctl.policy": "digits",
        "sloctl.action": "precision.down",
        "sloctl.before": "fp32",
        "sloctl.after": "int8",
        "sloctl.dry_run": False,
        "sloctl.shares": "{'low': 0.5}",
        "sloctl.fact.burn_rate": 14.5,
        "sloctl.fact.health": "ready",
        "sloctl.fact.gone": "None",
    }


def test_without_an_endpoint_nothing_is_recorded_and_nothing_fails() -> None:
    tracer = DecisionTracer(None)
    tracer.record({"no": "action"})
    tracer.close()


def test_after_close_decisions_are_let_go(tracer: DecisionTracer, exporter: InMemorySpanExporter) -> None:
    tracer.close()
    tracer.record(DECISION)
    tracer.close()
    assert exporter.get_finished_spans() == ()


def test_the_process_wide_provider_stays_as_it_was(tracer: DecisionTracer) -> None:
    tracer.record(DECISION)
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
