"""The exposition: equal to prometheus_client's own, parsed back whole, right in the corners of the format."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sloctl.board import Board, LayerSample, ModelTopology, Topology
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.buckets import duration_bounds, exported_bounds
from sloctl.telemetry.catalogue import Kind, Metric
from sloctl.telemetry.families import Family, HistogramValue, SummaryValue, Value
from sloctl_exporters.prometheus import FamilyCollector, registry_of, render, unit_of

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
NAN, INF = float("nan"), float("inf")

numbers = st.one_of(st.floats(), st.integers(0, 2**62))
counts = st.integers(0, 2**53)


@st.composite
def values(draw: st.DrawFn, kind: Kind) -> Value:
    if kind is Kind.SUMMARY:
        return SummaryValue(draw(counts), draw(st.floats(0)))
    if kind is Kind.HISTOGRAM:
        bounds = tuple(sorted(draw(st.sets(st.floats(1e-9, 1e9), min_size=1, max_size=6))))
        steps = draw(st.lists(st.integers(0, 10**6), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
        return HistogramValue(bounds, tuple(sum(steps[: i + 1]) for i in range(len(steps))), draw(st.floats(0)))
    return draw(numbers)


@st.composite
def families(draw: st.DrawFn) -> list[Family]:
    found = []
    for index, kind in enumerate(draw(st.lists(st.sampled_from(list(Kind)), max_size=4))):
        suffix = {Kind.COUNTER: "_total", Kind.INFO: "_info"}.get(kind, draw(st.sampled_from(["", "_seconds"])))
        labels = draw(st.lists(st.sampled_from(["a", "le1", "kind", "zone", "model"]), unique=True, max_size=3))
        metric = Metric(f"m{index}{suffix}", kind, draw(st.sampled_from(["1", "seconds"])), tuple(labels), "Help.")
        keys = draw(st.lists(st.tuples(*(st.text(max_size=8) for _ in labels)), max_size=3, unique=True))
        found.append(Family(metric, [(key, draw(values(kind))) for key in keys]))
    return found


@given(families())
def test_both_formats_equal_what_prometheus_client_writes(given_families: list[Family]) -> None:
    registry = registry_of(lambda: given_families)
    assert render(given_families)[0] == generate_latest(registry)
    assert render(given_families, OPENMETRICS)[0] == generate_openmetrics(registry)


def board_families() -> list[Family]:
    models = (ModelTopology("digits", ("fp32", "int8")), ModelTopology('odd "name"\\n', ("a\nb",)))
    board = Board.create(Topology(models, ("high", "low"), duration_bounds((0.05,)), exported_bounds((0.05,))))
    board.counter(c.REQUESTS, "digits", "high", "ok").inc(12_345_678)
    board.histogram(c.REQUEST_DURATION, "digits", "int8").observe(0.004)
    board.gauge(c.VARIANT_ACCURACY, "digits", "fp32").set(NAN)
    board.layers("digits", "fp32").record([LayerSample("conv/1", 0.001)])
    found = board.snapshot().families()
    board.close()
    return found


def test_a_whole_board_renders_as_prometheus_client_renders_it() -> None:
    found = board_families()
    registry = registry_of(lambda: found)
    assert render(found)[0] == generate_latest(registry)
    assert render(found, OPENMETRICS)[0] == generate_openmetrics(registry)


def test_every_series_of_a_board_is_there_before_the_first_request() -> None:
    parsed = {f.name: f for f in parse_text(render(board_families())[0].decode())}
    requests = parsed["sloctl_requests"].samples
    assert {s.labels["outcome"] for s in requests if s.labels["model"] == "digits"} == set(c.OUTCOMES)
    assert set(parsed) == {m.name.removesuffix("_total") for m in c.DATA_METRICS}


@pytest.mark.parametrize(
    "parse",
    [
        pytest.param(lambda f: list(parse_text(render(f)[0].decode())), id="text"),
        pytest.param(lambda f: list(parse_openmetrics(render(f, OPENMETRICS)[0].decode())), id="openmetrics"),
    ],
)
def test_awkward_values_and_labels_come_back_as_they_were(parse: Callable[[list[Family]], list]) -> None:
    metric = Metric("x_ratio", Kind.GAUGE, "ratio", ("zone", "le_like", "a"), 'Help with "quotes" and \\ and\nlines.')
    awkward = ('quo"te', "back\\slash", "new\nline")
    samples: list = [(awkward, NAN), (("", "é", "\\n"), INF), (("1", "2", "3"), -INF), (("4", "", ""), -0.5)]
    (family,) = parse([Family(metric, samples)])
    back = [(tuple(s.labels.get(name, "") for name in metric.labels), s.value) for s in family.samples]
    assert family.documentation == metric.help
    assert [labels for labels, _ in back] == [labels for labels, _ in samples]
    assert math.isnan(back[0][1])
    assert [value for _, value in back[1:]] == [INF, -INF, -0.5]


@pytest.mark.parametrize(
    ("accept", "starts", "counter"),
    [
        pytest.param("", "text/plain; version=0.0.4", "# TYPE n_total counter", id="nothing asked: plain text"),
        pytest.param(None, "text/plain; version=0.0.4", "# TYPE n_total counter", id="no header"),
        pytest.param("*/*", "text/plain; version=0.0.4", "# TYPE n_total counter", id="anything"),
        pytest.param(
            OPENMETRICS,
            "application/openmetrics-text; version=1.0.0",
            "# TYPE n counter",
            id="OpenMetrics names a counter's family without _total",
        ),
        pytest.param(
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "text/plain; version=1.0.0",
            "# TYPE n_total",
            id="text 1.0",
        ),
        pytest.param(
            "text/plain;version=1.0.0;escaping=dots", "text/plain; version=1.0.0", "# TYPE n__total", id="dots"
        ),
        pytest.param(
            "application/openmetrics-text;version=x.y",
            "text/plain; version=0.0.4",
            "# TYPE n_total counter",
            id="a version that is not a number is not an error",
        ),
    ],
)
def test_the_accept_header_chooses_the_format(accept: str | None, starts: str, counter: str) -> None:
    body, content_type = render([Family(Metric("n_total", Kind.COUNTER, "1", (), "N."), [((), 1.0)])], accept)
    assert content_type.startswith(starts)
    assert counter in body.decode()
    assert body.decode().endswith("# EOF\n") == content_type.startswith("application/openmetrics-text")


def test_an_info_metric_is_a_gauge_of_one_in_plain_text() -> None:
    info = Family(Metric("gpu_info", Kind.INFO, "1", ("uuid",), "GPU."), [(("GPU-1",), 1.0)])
    assert render([info])[0] == b'# HELP gpu_info GPU.\n# TYPE gpu_info gauge\ngpu_info{uuid="GPU-1"} 1.0\n'


def test_a_family_without_samples_still_says_that_it_exists() -> None:
    body = render([Family(c.DECISIONS)])[0].decode()
    assert body.splitlines()[-1] == "# TYPE sloctl_decisions_total counter"


def test_a_lone_surrogate_in_a_label_does_not_break_the_scrape() -> None:
    metric = Metric("x", Kind.GAUGE, "1", ("a",), "X.")
    assert b'x{a="?"} 1.0' in render([Family(metric, [(("\ud800",), 1.0)])])[0]


def test_a_registry_refuses_the_same_metrics_twice() -> None:
    registry = registry_of(list, [c.REQUESTS])
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(FamilyCollector(list, [c.REQUESTS]))


def test_units_are_told_only_where_the_name_ends_in_them() -> None:
    told = {m.name for m in c.all_metrics() if unit_of(m)}
    assert c.REQUEST_DURATION.name in told
    assert c.PROCESS_CPU.name in told  # _seconds_total
    assert c.SLO_BURN_RATE.name not in told  # a ratio, but not named so
