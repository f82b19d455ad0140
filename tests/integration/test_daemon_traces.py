"""Spans of requests, as a collector gets them from a running daemon."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from running_daemon import until

pytestmark = pytest.mark.integration


@pytest.fixture
def collector():
    """An OTLP/HTTP endpoint; `spans` are what it got."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                found = ExportTraceServiceRequest.FromString(body)
                spans.extend(s for each in found.resource_spans for scope in each.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.spans = spans
    yield server
    server.shutdown()
    server.server_close()


def test_a_collector_gets_the_spans_of_requests_also_of_the_last_ones_before_a_stop(daemon, collector):
    endpoint = f"http://127.0.0.1:{collector.server_address[1]}"
    served = daemon(telemetry={"otlpEndpoint": endpoint, "traceShare": 1.0})
    for _ in range(5):
        assert served.infer()[0] == 200
    served.stop()
    until(lambda: len([s for s in collector.spans if s.name == "engine"]) == 5, 5, "all spans are there")
    requests = {s.span_id for s in collector.spans if s.name.startswith("POST ")}
    assert len(requests) == 5
    assert {s.parent_span_id for s in collector.spans if s.name == "engine"} == requests


def test_requests_go_on_without_the_collector(daemon):
    served = daemon(telemetry={"otlpEndpoint": "http://127.0.0.1:9", "traceShare": 1.0})
    for _ in range(20):
        assert served.infer()[0] == 200
