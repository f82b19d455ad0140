"""OTLP pushes, read back from the protobuf that a collector gets."""

import math
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from structlog.testing import capture_logs

from sloctl.telemetry import catalogue as c
from sloctl.telemetry.families import Family, HistogramValue, SummaryValue
from sloctl.telemetry.tracing import signal_address
from sloctl_exporters.otlp import OtlpPusher
from sloctl_exporters.otlp_data import metrics_data

FAMILIES = [
    Family(c.REQUESTS, [(("digits", "high", "ok"), 7), (("digits", "high", "error"), 0)]),
    Family(c.SLO_BURN_RATE, [(("latency", "5m"), 1.5), (("latency", "1h"), math.nan)]),
    Family(c.SLO_BUDGET_REMAINING, [(("latency",), 0.25)]),
    Family(c.QUEUE_DURATION, [(("digits", "high"), HistogramValue((0.1, 1.0), (2, 5, 6), 9.5))]),
    Family(c.TICK_DURATION, [((), SummaryValue(40, 0.2))]),
    Family(c.DECISIONS),
]


@pytest.fixture
def collector(collector_module: ModuleType) -> Iterator[Any]:
    with collector_module.collecting() as found:
        yield found


@pytest.fixture
def metrics(collector: Any) -> dict[str, Any]:
    """What arrives of FAMILIES, by name."""
    pusher = OtlpPusher(collector.url, lambda: FAMILIES)
    assert pusher.push()
    pusher.close()
    ((path, body),) = collector.received
    assert path == "/v1/metrics"
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"] == "sloctl"
    return {metric.name: metric for metric in resource.scope_metrics[0].metrics}


def labels(point: Any) -> dict[str, str]:
    return {a.key: a.value.string_value for a in point.attributes}


def test_a_counter_is_a_cumulative_monotonic_sum(metrics: dict[str, Any]) -> None:
    found = metrics["sloctl_requests_total"]
    assert found.description == c.REQUESTS.help
    assert found.sum.is_monotonic
    assert found.sum.aggregation_temporality == 2  # cumulative
    ok, error = found.sum.data_points
    assert labels(ok) == {"model": "digits", "priority": "high", "outcome": "ok"}
    assert (ok.as_int, error.as_int) == (7, 0)
    assert ok.time_unix_nano > 10**18


def test_a_gauge_keeps_its_values_even_nan(metrics: dict[str, Any]) -> None:
    short, long = metrics["sloctl_slo_burn_rate"].gauge.data_points
    assert (labels(short), short.as_double) == ({"slo": "latency", "window": "5m"}, 1.5)
    assert math.isnan(long.as_double)


def test_a_histogram_has_counts_a_bucket_and_not_cumulative_ones(metrics: dict[str, Any]) -> None:
    (point,) = metrics["sloctl_queue_duration_seconds"].histogram.data_points
    assert list(point.explicit_bounds) == [0.1, 1.0]
    assert list(point.bucket_counts) == [2, 3, 1]
    assert (point.count, point.sum) == (6, 9.5)
    assert not point.HasField("min")  # not known, which is not the same as 0


def test_a_summary_is_its_count_and_sum(metrics: dict[str, Any]) -> None:
    (point,) = metrics["sloctl_tick_duration_seconds"].histogram.data_points
    assert (point.count, point.sum, list(point.bucket_counts)) == (40, 0.2, [])


def test_units_are_ucum_and_only_where_the_name_already_ends_in_them(metrics: dict[str, Any]) -> None:
    units = {name: metric.unit for name, metric in metrics.items()}
    assert units == {
        "sloctl_requests_total": "",
        "sloctl_slo_burn_rate": "",  # "1" would make it sloctl_slo_burn_rate_ratio in Prometheus
        "sloctl_slo_error_budget_remaining_ratio": "1",
        "sloctl_queue_duration_seconds": "s",
        "sloctl_tick_duration_seconds": "s",
    }


def test_every_kind_of_the_catalogue_is_carried() -> None:
    value = {c.Kind.HISTOGRAM: HistogramValue((1.0,), (0, 0), 0.0), c.Kind.SUMMARY: SummaryValue(0, 0.0)}
    families = [Family(m, [(tuple("x" for _ in m.labels), value.get(m.kind, 0.0))]) for m in c.all_metrics()]
    sent = metrics_data(families, now=1).resource_metrics[0].scope_metrics[0].metrics
    assert [m.name for m in sent] == [m.name for m in c.all_metrics()]
    assert all(m.data.data_points for m in sent)


def test_a_refusal_is_false_and_logged_once_and_so_is_the_recovery(collector: Any) -> None:
    pusher = OtlpPusher(collector.url, lambda: FAMILIES)
    collector.status = 400  # not retried
    with capture_logs() as logs:
        assert [pusher.push(), pusher.push()] == [False, False]
        collector.status = 200
        assert [pusher.push(), pusher.push()] == [True, True]
    pusher.close()
    assert [entry["event"] for entry in logs] == ["metrics cannot be pushed; trying on", "metrics are pushed again"]


def test_a_source_that_fails_does_not_raise() -> None:
    def fail() -> list[Family]:
        raise RuntimeError("no families")

    pusher = OtlpPusher("http://127.0.0.1:9", fail)
    with capture_logs() as logs:
        assert pusher.push() is False
    assert "no families" in logs[0]["reason"]
    pusher.close()


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        pytest.param("http://c:4318", "http://c:4318/v1/metrics", id="a base address"),
        pytest.param("http://c:4318/", "http://c:4318/v1/metrics", id="with a slash"),
        pytest.param("http://c/v1/metrics", "http://c/v1/metrics", id="the whole address"),
        pytest.param("http://p/api/v1/otlp", "http://p/api/v1/otlp/v1/metrics", id="Prometheus' own receiver"),
    ],
)
def test_the_signals_address(endpoint: str, address: str) -> None:
    assert signal_address(endpoint, "metrics") == address


def test_opentelemetry_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys, sloctl_exporters.otlp, sloctl.telemetry.tracing as t; t.DecisionTracer(None).record({}); "
        "print([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
