"""Dashboards by dashboard-linter's rules, as written files, and as the command writes them."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import promql_parser
import pytest
import yaml
from typer.testing import CliRunner

from sloctl.cli.dashboards import dashboards, generated
from sloctl.config.resources import resource
from sloctl.telemetry import catalogue as c
from sloctl_exporters.grafana import metrics_reference, queries, slo_engine_dashboard
from sloctl_exporters.grafana.model import WIDTH
from sloctl_exporters.nvml import NVML_METRICS

ROOT = Path(__file__).resolve().parents[2]
BOARD = slo_engine_dashboard()
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [pytest.param(t["expr"], id=f"{p['title']} {t['refId']}") for p in PANELS for t in p["targets"]]
METRICS = {m.name: m for m in (*c.all_metrics(), *NVML_METRICS)}


def selectors(expr: Any, calls: tuple[str, ...] = ()) -> Iterator[tuple[Any, tuple[str, ...], Any]]:
    """Every selector of a parsed expression, the functions around it, and its range."""
    if isinstance(expr, promql_parser.VectorSelector):
        yield expr, calls, None
    elif isinstance(expr, promql_parser.MatrixSelector):
        yield expr.vector_selector, calls, expr.range
    elif isinstance(expr, promql_parser.Call):
        for argument in expr.args:
            yield from selectors(argument, (*calls, expr.func.name))
    elif isinstance(expr, promql_parser.BinaryExpr):
        yield from selectors(expr.lhs, calls)
        yield from selectors(expr.rhs, calls)
    elif not isinstance(expr, promql_parser.NumberLiteral):
        yield from selectors(expr.expr, calls)  # aggregations and parentheses


@pytest.fixture
def parse(dashboard_queries: ModuleType) -> Callable[[str], list[Any]]:
    return lambda expr: list(selectors(promql_parser.parse(dashboard_queries.substitute(expr))))


# --- queries


@pytest.mark.parametrize("expr", TARGETS)
def test_every_query_parses_and_names_metrics_and_labels_that_exist(
    expr: str, parse: Callable[[str], list[Any]]
) -> None:
    found = parse(expr)
    assert found
    for selector, _, _ in found:
        metric = metric_of(selector.name)
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= {"job", "instance", *metric.labels}
        assert {"job", "instance"} <= matched
        assert ("model" in matched) == ("model" in metric.labels)
    known = {"le", "job", "instance", *(label for s, _, _ in found for label in metric_of(s.name).labels)}
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(",")}
    assert grouped <= known


@pytest.mark.parametrize("expr", TARGETS)
def test_counters_stand_under_rate_and_gauges_do_not(expr: str, parse: Callable[[str], list[Any]]) -> None:
    for selector, calls, span in parse(expr):
        cumulative = metric_of(selector.name).kind in (c.Kind.COUNTER, c.Kind.HISTOGRAM, c.Kind.SUMMARY)
        assert bool({"rate", "increase"} & set(calls)) == cumulative == (span is not None)


@pytest.mark.parametrize("expr", TARGETS)
def test_windows_are_grafanas_own(expr: str) -> None:
    assert set(re.findall(r"rate\([^\[]*\[([^\]]*)\]", expr)) <= {"$__rate_interval"}
    assert set(re.findall(r"\[([^\]]*)\]", expr)) <= {"$__rate_interval", "$__range"}


def metric_of(name: str) -> c.Metric:
    if name in METRICS:
        return METRICS[name]
    base, _, suffix = name.rpartition("_")
    assert suffix in {"bucket", "sum", "count"}, f"{name} is no metric"
    return METRICS[base]


def test_every_metric_of_the_catalogue_is_shown() -> None:
    text = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    missing = {name for name in METRICS if not re.search(rf"\b{name}(_bucket|_sum|_count)?\{{", text)}
    assert missing == {
        "sloctl_gpu_retired_pages",  # GPUs before Ampere only
        "sloctl_gpu_nvlink_bytes_total",  # there is a rate of it
        "sloctl_gpu_unsupported_info",  # for people who miss a value
        "sloctl_gpu_xid_last_timestamp_seconds",  # for alerts
        "sloctl_nvml_last_success_timestamp_seconds",
        "sloctl_gpu_instance_info",  # to join on
        "sloctl_device_memory_ratio",  # for SLOs; the panel shows used and total
        "sloctl_gpu_instance_activity_ratio",
    }


@pytest.mark.parametrize(
    ("make", "metric"),
    [
        pytest.param(queries.gauge, c.REQUESTS, id="a counter as a gauge"),
        pytest.param(queries.rate, c.READY, id="a rate of a gauge"),
        pytest.param(queries.increase, c.TICK_DURATION, id="an increase of a summary"),
        pytest.param(queries.mean, c.REQUESTS, id="a mean of a counter"),
        pytest.param(lambda m: queries.quantile(0.5, m, "slo"), c.TICK_DURATION, id="a quantile of a summary"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_when_written(make: Callable[[c.Metric], str], metric: c.Metric) -> None:
    with pytest.raises(ValueError, match=metric.name):
        make(metric)


# --- panels and variables


@pytest.mark.parametrize("panel", [pytest.param(p, id=p["title"]) for p in PANELS])
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["type"] in {"timeseries", "stat", "state-timeline", "bargauge"}  # none that Grafana has given up
    for thing in (panel, *panel["targets"]):
        assert thing["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert [t["refId"] for t in panel["targets"]] == ["A", "B", "C", "D"][: len(panel["targets"])]


@pytest.mark.parametrize("panel", [pytest.param(p, id=p["title"]) for p in PANELS])
def test_a_legend_tells_series_apart(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)
    for target in panel["targets"]:
        grouped = re.match(r"(?:topk\(10, |histogram_quantile\([0-9.]+, )?\w+ by \(([^)]*)\)", target["expr"])
        labels = {label.strip() for label in grouped[1].split(",")} - {"le"} if grouped else set()
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == labels


def test_identities_are_unique_and_stable() -> None:
    assert BOARD["uid"] == "sloctl-slo-engine"
    assert BOARD["title"] == "sloctl: SLOs and engine"
    assert [panel["id"] for panel in BOARD["panels"]] == list(range(1, len(BOARD["panels"]) + 1))
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    assert slo_engine_dashboard() == BOARD


def test_the_format_is_a_current_one_for_provisioning() -> None:
    assert BOARD["schemaVersion"] >= 39
    assert BOARD["editable"] is False
    assert "__inputs" not in BOARD
    assert "id" not in BOARD


def test_panels_lie_side_by_side_and_never_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        box = panel["gridPos"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert box["x"] + box["w"] <= WIDTH
        assert not cells & taken, panel["title"]
        taken |= cells


def test_variables_choose_data_source_job_instance_and_model() -> None:
    datasource, *others = BOARD["templating"]["list"]
    assert (datasource["name"], datasource["type"], datasource["query"]) == ("datasource", "datasource", "prometheus")
    assert [variable["name"] for variable in others] == ["job", "instance", "model"]
    for variable in others:
        assert variable["datasource"]["uid"] == "${datasource}"
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")
        assert variable["refresh"] == 2
        label = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["query"]["query"])
        assert label
        assert label[1] in METRICS
        assert label[2] == variable["name"]


# --- files and the command


def test_committed_files_are_what_the_generator_writes() -> None:
    wanted = generated(ROOT / "grafana/dashboards", ROOT / "docs/reference/metrics.md")
    stale = [str(path) for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    assert not stale, "write them anew: sloctl dashboards --out grafana/dashboards --docs docs/reference/metrics.md"
    assert set((ROOT / "grafana/dashboards").iterdir()) == {path for path in wanted if path.suffix == ".json"}


def test_provisioning_points_at_what_the_dashboards_need() -> None:
    folder = resource("grafana") / "provisioning"
    source = yaml.load((folder / "datasources/sloctl.yaml").read_text(), yaml.CSafeLoader)["datasources"][0]
    provider = yaml.load((folder / "dashboards/sloctl.yaml").read_text(), yaml.CSafeLoader)["providers"][0]
    assert source["type"] == "prometheus"
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")


def run(*arguments: str) -> Any:
    import typer

    app = typer.Typer()
    app.command()(dashboards)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_writes_once_and_then_finds_its_files_current(tmp_path: Path) -> None:
    arguments = ("--out", str(tmp_path / "d"), "--docs", str(tmp_path / "r" / "metrics.md"))
    assert run(*arguments, "--check").exit_code == 1
    assert list(tmp_path.iterdir()) == []  # a check writes nothing
    assert run(*arguments).exit_code == 0
    assert json.loads((tmp_path / "d/sloctl-slo-engine.json").read_text()) == BOARD
    assert (tmp_path / "r/metrics.md").read_text() == metrics_reference()
    checked = run(*arguments, "--check")
    assert (checked.exit_code, checked.stderr) == (0, "")


def test_a_check_names_the_file_that_was_changed_by_hand(tmp_path: Path) -> None:
    run("--out", str(tmp_path))
    path = tmp_path / "sloctl-slo-engine.json"
    path.write_bytes(b"\xff" + path.read_bytes())
    checked = run("--out", str(tmp_path), "--check")
    assert checked.exit_code == 1
    assert str(path) in checked.stderr


def test_nothing_to_do_is_wrong_usage() -> None:
    assert run().exit_code == 2


def test_a_folder_that_is_a_file_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("--out", str(tmp_path / "file"))
    assert done.exit_code == 3
    assert done.stderr.startswith("error: cannot write")


def test_the_reference_lists_every_metric_once_and_every_label() -> None:
    page = metrics_reference()
    rows = re.findall(r"^\| `(sloctl_\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(METRICS)
    described = set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE))
    own = {"name", "driver", "pci_bus_id", "compute_capability", "cause", "clock", "kind", "version"}
    own |= {"severity", "policy", "rule", "action", "result", "what", "error", "lifetime", "xid", "source", "engine"}
    own |= {"alertname", "codec", "bus", "direction", "instance", "instance_uuid", "profile"}
    assert {label for m in METRICS.values() for label in m.labels} - described == own
