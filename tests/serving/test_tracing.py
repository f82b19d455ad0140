"""Spans of requests: who gets one, what is in it, and that the others pay nothing."""

import json

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sloctl.board import LayerSample
from sloctl.serving.http import HttpApp
from sloctl.serving.tracing import RequestTracer
from sloctl.telemetry.tracing import provider

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Traced:
    """A bench whose requests are traced; `draws` are what chance says."""

    def __init__(self, bench, share):
        self.bench = bench
        self.exporter = InMemorySpanExporter()
        self.provider = provider("", self.exporter)
        self.draws = []
        tracer = RequestTracer(
            self.provider.get_tracer("test"), share, bench.plane.clock, lambda: self.draws.pop(0) if self.draws else 0.5
        )
        bench.app = HttpApp(bench.plane, 1 << 20, tracer)
        bench.model.completion.tracing = True

    def spans(self):
        self.provider.force_flush()
        found = self.exporter.get_finished_spans()
        self.exporter.clear()
        return found


@pytest.fixture
async def traced(bench):
    made = Traced(bench, share=0.1)
    yield made
    made.provider.shutdown()


async def test_a_sampled_request_has_its_queue_and_its_engine_run_inside(traced):
    traced.draws = [0.05]
    assert (await traced.bench.infer(1, 2)).status == 200
    queue, engine, request = traced.spans()
    assert (request.name, request.kind) == ("POST /v2/models/{model}/infer", SpanKind.SERVER)
    assert request.attributes["http.response.status_code"] == 200
    assert (request.attributes["sloctl.outcome"], request.attributes["sloctl.variant"]) == ("ok", "fp32")
    assert {queue.parent.span_id, engine.parent.span_id} == {request.context.span_id}
    assert engine.attributes["sloctl.rows"] == 2
    assert engine.attributes["sloctl.device_seconds"] == pytest.approx(1e-5)
    assert request.start_time <= queue.start_time <= queue.end_time == engine.start_time
    assert engine.start_time <= engine.end_time <= request.end_time


async def test_the_slowest_layers_of_the_last_profile_are_events(traced):
    layers = [LayerSample(f"layer{number}", number * 1e-6, "compute") for number in range(40)]
    variant = traced.bench.model.variants[0]
    variant.profile = (traced.bench.plane.clock() - 3.0, layers)
    traced.draws = [0.05]
    await traced.bench.infer(1)
    (engine,) = [span for span in traced.spans() if span.name == "engine"]
    assert [event.name for event in engine.events] == [f"layer{number}" for number in range(39, 7, -1)]
    assert engine.attributes["sloctl.layers_sampled_seconds_ago"] == pytest.approx(3.0, abs=1.0)


async def test_chance_leaves_most_requests_without_spans(traced):
    traced.draws = [0.1, 0.9]
    for _ in range(2):
        await traced.bench.infer(1)
    assert traced.spans() == ()


@pytest.mark.parametrize(
    ("given", "spans"),
    [
        (f"00-{TRACE}-{PARENT}-01", 3),
        (f"00-{TRACE}-{PARENT}-00", 0),
        ("00-nonsense", 0),  # as if there were none: chance decides
        (f"00-{'0' * 32}-{PARENT}-01", 0),
    ],
    ids=["sampled", "not sampled", "malformed", "no trace id"],
)
async def test_a_traceparent_decides_by_its_flag(traced, given, spans):
    traced.draws = [0.9]
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}]}
    path, headers = "/v2/models/m/infer", {"traceparent": given}
    response = await traced.bench.call("POST", path, json.dumps(body).encode(), headers)
    assert response.status == 200
    found = traced.spans()
    assert len(found) == spans
    if spans:
        assert {f"{span.context.trace_id:032x}" for span in found} == {TRACE}
        assert f"{found[-1].parent.span_id:016x}" == PARENT


async def test_a_refusal_has_a_span_with_its_reason(traced):
    traced.draws = [0.0]
    traced.bench.plane.ending = "the device is lost"
    response = await traced.bench.infer(1)
    assert json.loads(response.body)["reason"] == "restarting"
    (request,) = traced.spans()
    assert request.attributes["sloctl.reason"] == "restarting"
    assert request.status.status_code is StatusCode.ERROR


async def test_a_request_of_each_batch_has_the_batch_it_ran_in(traced):
    traced.bench.engines["fp32"].fail = "CUDA error"
    traced.draws = [0.0]
    assert (await traced.bench.infer(1)).status == 500
    (request,) = traced.spans()
    assert request.attributes["sloctl.outcome"] == "error"
