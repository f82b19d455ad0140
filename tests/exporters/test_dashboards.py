"""Dashboards as the generator makes them, as written files, and as the command writes them."""

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
from sloctl_exporters import grafana
from sloctl_exporters.grafana.document import WIDTH
from sloctl_exporters.grafana.queries import Queries
from sloctl_exporters.nvml import NVML_METRICS

ROOT = Path(__file__).resolve().parents[2]
BOARDS = grafana.dashboards()
METRICS = {m.name: m for m in (*c.all_metrics(), *NVML_METRICS)}
RECORDED = re.compile(r"sloctl:slo_\w+:ratio|ALERTS")
each_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


PANELS = [pytest.param(p, id=f"{b['uid']} {p['title']}") for b in BOARDS for p in panels(b)]
TARGETS = [
    pytest.param(t["expr"], id=f"{b['uid']} {p['title']} {t['refId']}")
    for b in BOARDS
    for p in panels(b)
    for t in p["targets"]
]
MARKS = [pytest.param(m["expr"], id=f"{b['uid']} {m['name']}") for b in BOARDS for m in b["annotations"]["list"]]


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
    elif not isinstance(expr, (promql_parser.NumberLiteral, promql_parser.StringLiteral)):
        yield from selectors(expr.expr, calls)  # aggregations and parentheses


@pytest.fixture
def parse(dashboard_queries: ModuleType) -> Callable[[str], list[Any]]:
    return lambda expr: list(selectors(promql_parser.parse(dashboard_queries.substitute(expr))))


def metric_of(name: str) -> c.Metric:
    if name in METRICS:
        return METRICS[name]
    base, _, suffix = name.rpartition("_")
    assert suffix in {"bucket", "sum", "count"}, f"{name} is no metric"
    return METRICS[base]


# --- queries


@pytest.mark.parametrize("expr", [*TARGETS, *MARKS])
def test_every_query_parses_and_names_metrics_and_labels_that_exist(
    expr: str, parse: Callable[[str], list[Any]]
) -> None:
    found = [selector for selector, _, _ in parse(expr) if not RECORDED.fullmatch(selector.name)]
    assert found or RECORDED.search(expr)
    for selector in found:
        metric = metric_of(selector.name)
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert {"job", "instance"} <= matched <= {"job", "instance", *metric.labels}
    if found:
        known = {"le", "job", "instance", *(label for s in found for label in metric_of(s.name).labels)}
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expr) for label in group.split(",")}
        assert grouped <= known


@each_board
def test_a_variable_narrows_every_query_that_has_its_label(
    board: dict[str, Any], parse: Callable[[str], list[Any]]
) -> None:
    variables = {each["name"] for each in board["templating"]["list"]}
    chosen = {"model", "gpu", "slo"} & variables | ({"slo"} if "search" in variables else set())
    for panel in panels(board):
        for target in panel["targets"]:
            for selector, _, _ in parse(target["expr"]):
                if not RECORDED.fullmatch(selector.name):
                    matched = {matcher.name for matcher in selector.matchers.matchers}
                    assert chosen & set(metric_of(selector.name).labels) <= matched, (panel["title"], selector.name)


@pytest.mark.parametrize("expr", TARGETS)
def test_counters_stand_under_rate_and_gauges_do_not(expr: str, parse: Callable[[str], list[Any]]) -> None:
    for selector, calls, span in parse(expr):
        cumulative = not RECORDED.fullmatch(selector.name) and metric_of(selector.name).kind in (
            c.Kind.COUNTER,
            c.Kind.HISTOGRAM,
            c.Kind.SUMMARY,
        )
        assert bool({"rate", "increase"} & set(calls)) == cumulative
        assert bool({"rate", "increase", "deriv", "predict_linear"} & set(calls)) == (span is not None)


@pytest.mark.parametrize("expr", TARGETS)
def test_windows_are_grafanas_own_or_chosen_by_a_variable(expr: str) -> None:
    assert set(re.findall(r"rate\([^\[]*\[([^\]]*)\]", expr)) <= {"$__rate_interval"}
    assert set(re.findall(r"increase\([^\[]*\[([^\]]*)\]", expr)) <= {"$__rate_interval", "$__range"}
    assert set(re.findall(r"(?:deriv|predict_linear)\([^\[]*\[([^\]]*)\]", expr)) <= {"$pace"}


def test_no_metric_has_a_label_that_prometheus_gives_to_the_target() -> None:
    taken = {name for name, metric in METRICS.items() if {"job", "instance"} & set(metric.labels)}
    assert not taken, "a scrape renames them to exported_instance"


def test_every_metric_of_the_catalogue_is_shown() -> None:
    text = " ".join(target["expr"] for board in BOARDS for panel in panels(board) for target in panel["targets"])
    missing = {name for name in METRICS if not re.search(rf"\b{name}(_bucket|_sum|_count)?\{{", text)}
    assert missing == {
        "sloctl_nvml_last_success_timestamp_seconds",  # for alerts
        "sloctl_device_memory_ratio",  # for SLOs; the panel shows used and total
    }


@pytest.mark.parametrize(
    ("make", "metric"),
    [
        pytest.param(Queries.gauge, c.REQUESTS, id="a counter as a gauge"),
        pytest.param(Queries.rate, c.READY, id="a rate of a gauge"),
        pytest.param(Queries.increase, c.TICK_DURATION, id="an increase of a summary"),
        pytest.param(Queries.mean, c.REQUESTS, id="a mean of a counter"),
        pytest.param(Queries.buckets, c.TICK_DURATION, id="buckets of a summary"),
        pytest.param(Queries.count, c.REQUESTS, id="a count of a counter's series"),
        pytest.param(Queries.new, c.READY, id="the rises of a gauge"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_when_written(
    make: Callable[[Queries, c.Metric], str], metric: c.Metric
) -> None:
    with pytest.raises(ValueError, match=metric.name):
        make(Queries({}), metric)


# --- panels, variables, links


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    for thing in (panel, *panel["targets"]):
        assert thing["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("panel", [p for p in PANELS if p.values[0]["type"] != "table"])
def test_a_legend_tells_series_apart(panel: dict[str, Any]) -> None:
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert len(set(legends)) == len(legends)
    for target in panel["targets"]:
        grouped = re.search(r"\w+ by \(([^)]*)\)", target["expr"])
        labels = {label.strip() for label in grouped[1].split(",")} if grouped else set()
        if panel["type"] != "heatmap":
            labels -= {"le"}
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == labels


@pytest.mark.parametrize("panel", [p for p in PANELS if p.values[0]["type"] == "table"])
def test_a_tables_transformations_name_what_its_queries_give(panel: dict[str, Any]) -> None:
    steps = {each["id"]: each["options"] for each in panel["transformations"]}
    keys = [re.search(r"by \(([^)]*)\)", target["expr"])[1].split(", ") for target in panel["targets"]]  # type: ignore[index]
    if "groupingToMatrix" in steps:
        assert len(keys) == 1
        joined = re.search(r'label_join\(.*, "(\w+)", " ", "(\w+)", "(\w+)"\)', panel["targets"][0]["expr"])
        assert joined
        assert {steps["groupingToMatrix"]["rowField"], joined[2], joined[3]} == set(keys[0])
        assert steps["groupingToMatrix"]["columnField"] == joined[1]
        return
    assert all(each == keys[0] for each in keys), "lines are joined by the same labels"
    values = [f"Value #{target['refId']}" for target in panel["targets"]]
    assert len(values) > 1, "the column of a lone query would be called Value"
    named = steps["organize"]["renameByName"]
    assert list(named) == values
    assert list(steps["organize"]["indexByName"]) == [*keys[0], *values]
    assert {each["field"] for each in steps["sortBy"]["sort"]} <= set(named.values())
    overridden = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
    assert overridden == {keys[0][-1], *named.values()}


def test_a_limit_is_a_line_of_a_query_of_its_own() -> None:
    dashed = [
        (panel, each["matcher"]["options"])
        for board in BOARDS
        for panel in panels(board)
        for each in panel["fieldConfig"]["overrides"]
        if any(prop["id"] == "custom.lineStyle" for prop in each["properties"])
    ]
    assert dashed
    for panel, name in dashed:
        (expr,) = (target["expr"] for target in panel["targets"] if target["legendFormat"] == name)
        assert "slo_objective" in expr


@each_board
def test_identities_are_unique_and_stable(board: dict[str, Any]) -> None:
    assert [panel["id"] for panel in board["panels"]] == list(range(1, len(board["panels"]) + 1))
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


def test_dashboards_are_five_and_the_same_each_time() -> None:
    assert [board["uid"] for board in BOARDS] == [
        "sloctl-fleet",
        "sloctl-slo",
        "sloctl-engine",
        "sloctl-layers",
        "sloctl-gpu",
    ]
    assert len({board["title"] for board in BOARDS}) == len(BOARDS)
    assert grafana.dashboards() == BOARDS


@each_board
def test_the_format_is_a_current_one_for_provisioning(board: dict[str, Any]) -> None:
    assert board["schemaVersion"] >= 39
    assert "__inputs" not in board
    assert "id" not in board


@each_board
def test_every_dashboard_links_to_all_others_and_takes_time_and_variables_along(board: dict[str, Any]) -> None:
    (link,) = board["links"]
    assert link["type"] == "dashboards"
    assert set(link["tags"]) <= set(board["tags"])
    assert (link["includeVars"], link["keepTime"]) == (True, True)


def test_a_variable_means_the_same_on_every_dashboard_that_has_it() -> None:
    # Links take them along: one that is a list here and single there would choose nothing.
    shapes: dict[str, set[tuple[Any, ...]]] = {}
    for board in BOARDS:
        for each in board["templating"]["list"]:
            shapes.setdefault(each["name"], set()).add((each["type"], each.get("multi"), each.get("includeAll")))
    assert {name for name, found in shapes.items() if len(found) > 1} == set()


def test_links_of_cells_lead_to_dashboards_that_exist_with_variables_that_they_have() -> None:
    uids = {board["uid"]: {each["name"] for each in board["templating"]["list"]} for board in BOARDS}
    inner = [
        (panel, link["url"])
        for board in BOARDS
        for panel in panels(board)
        for each in panel["fieldConfig"]["overrides"]
        for prop in each["properties"]
        if prop["id"] == "links"
        for link in prop["value"]
        if link["url"].startswith("/")
    ]
    assert inner
    for panel, url in inner:
        target = re.fullmatch(r"/d/([\w-]+)\?(.*)", url)
        assert target
        assert set(re.findall(r"var-(\w+)=", target[2])) <= uids[target[1]]
        columns = panel["transformations"][1]["options"]["indexByName"]
        assert set(re.findall(r"__data\.fields\.(\w+)", url)) <= set(columns)


@each_board
def test_panels_lie_side_by_side_and_never_over_each_other(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        box = panel["gridPos"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert box["x"] + box["w"] <= WIDTH
        assert not cells & taken, panel["title"]
        taken |= cells


@each_board
def test_variables_are_used_and_ask_for_labels_that_exist(board: dict[str, Any]) -> None:
    text = json.dumps([board["panels"], board["annotations"]])
    for variable in board["templating"]["list"]:
        assert re.search(rf"\${{?{variable['name']}\b", text), variable["name"]
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["query"]["query"])
            assert found
            assert found[2] == variable["name"]
            assert found[2] in {"job", "instance", *METRICS[found[1]].labels}


# --- files and the command


def test_committed_files_are_what_the_generator_writes() -> None:
    wanted = generated(ROOT / "grafana/dashboards", ROOT / "docs/reference/metrics.md")
    stale = [str(path) for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    assert not stale, "write them anew: sloctl dashboards --out grafana/dashboards --docs docs/reference/metrics.md"
    assert set((ROOT / "grafana/dashboards").glob("*.json")) == {path for path in wanted if path.suffix == ".json"}


def test_provisioning_has_only_what_grafana_reads() -> None:
    # https://grafana.com/docs/grafana/latest/administration/provisioning/: unknown names are ignored in silence.
    folder = resource("grafana") / "provisioning"
    sources = yaml.load((folder / "datasources/sloctl.yaml").read_text(), yaml.CSafeLoader)
    providers = yaml.load((folder / "dashboards/sloctl.yaml").read_text(), yaml.CSafeLoader)
    assert (sources["apiVersion"], providers["apiVersion"]) == (1, 1)
    (source,), (provider,) = sources["datasources"], providers["providers"]
    assert source.keys() <= {"name", "uid", "type", "access", "url", "editable", "isDefault", "jsonData"}
    assert (source["type"], source["access"]) == ("prometheus", "proxy")
    assert source["jsonData"].keys() <= {"httpMethod", "timeInterval", "prometheusType", "prometheusVersion"}
    assert re.fullmatch(r"\d+s", source["jsonData"]["timeInterval"]), "the scrape interval, for $__rate_interval"
    assert provider.keys() <= {
        *("name", "orgId", "folder", "folderUid", "type", "disableDeletion", "allowUiUpdates", "options"),
        "updateIntervalSeconds",
    }
    assert provider["type"] == "file"
    assert provider["options"].keys() <= {"path", "foldersFromFilesStructure"}
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
    for board in BOARDS:
        assert json.loads((tmp_path / f"d/{board['uid']}.json").read_text()) == board
    assert (tmp_path / "r/metrics.md").read_text() == grafana.metrics_reference()
    checked = run(*arguments, "--check")
    assert (checked.exit_code, checked.stderr) == (0, "")


def test_a_check_names_the_file_that_was_changed_by_hand(tmp_path: Path) -> None:
    run("--out", str(tmp_path))
    path = tmp_path / "sloctl-slo.json"
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
    page = grafana.metrics_reference()
    rows = re.findall(r"^\| `(sloctl_\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(METRICS)
    described = set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE))
    own = {"name", "driver", "pci_bus_id", "compute_capability", "cause", "clock", "kind", "version"}
    own |= {"severity", "policy", "rule", "action", "result", "what", "error", "lifetime", "xid", "source", "engine"}
    own |= {"alertname", "alertmanager", "codec", "bus", "direction", "instance_uuid", "profile"}
    assert {label for m in METRICS.values() for label in m.labels} - described == own
