"""The rules of Grafana's dashboard-linter, each under its name, over our dashboards, and each over a broken one.

From docs/index.md and lint/ of https://github.com/grafana/dashboard-linter (commit 4d0844b). Its rules on LogQL
(target-logql-rule, target-logql-auto-rule) have no subject here. Stricter than the original: every type of panel is
looked at, units also where a panel maps values to texts, and an exclusion must be needed.
"""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from sloctl.config.resources import resource
from sloctl_exporters import grafana

BOARDS = grafana.dashboards()
LINT = yaml.load((resource("grafana") / "dashboards" / ".lint").read_text(), yaml.CSafeLoader)["exclusions"]
# Those of the linter's list (lint/rule_panel_units.go) that we use.
UNITS = {"short", "percentunit", "s", "cps", "reqps", "ops", "pps", "bytes", "Bps", "celsius", "watt", "hertz"}
UNITS |= {"dateTimeFromNow"}
# lint/variables.go fills in odd durations, so that each variable can be told from a constant.
MAGIC = {"__rate_interval": "8869s", "__interval": "4867s", "__range": "6069s", "pace": "5m"}

Board = dict[str, Any]
Complaint = tuple[str, str]  # the panel's title, or "" for the dashboard; what is wrong
Rule = Callable[[Board], Iterator[Complaint]]


def panels(board: Board) -> list[Any]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def variables(board: Board, kind: str) -> list[Any]:
    return [each for each in board["templating"]["list"] if each["type"] == kind]


def targets(board: Board) -> Iterator[tuple[str, str]]:
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def parsed(expr: str) -> Any:
    filled = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda name: MAGIC.get(name[1] or name[2], name[0]), expr)
    return promql_parser.parse(filled)


def walk(node: Any, parents: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every node of an expression with those around it, the nearest last."""
    yield node, parents
    children = {
        promql_parser.BinaryExpr: lambda n: [n.lhs, n.rhs],
        promql_parser.Call: lambda n: n.args,
        promql_parser.MatrixSelector: lambda n: [n.vector_selector],
        promql_parser.AggregateExpr: lambda n: [n.expr, *([n.param] if n.param else [])],
        promql_parser.ParenExpr: lambda n: [n.expr],
        promql_parser.UnaryExpr: lambda n: [n.expr],
    }.get(type(node), lambda _: [])
    for child in children(node):
        yield from walk(child, (*parents, node))


# --- the rules


def template_datasource(board: Board) -> Iterator[Complaint]:
    found = [(each["name"], each["label"]) for each in variables(board, "datasource")]
    if found != [("datasource", "Data source")]:
        yield "", f"data sources {found}"


def template_job(board: Board, name: str = "job") -> Iterator[Complaint]:
    found = [each for each in board["templating"]["list"] if each["name"] == name]
    wanted = {"type": "query", "label": name.title(), "multi": True, "allValue": ".+"}
    if not found:
        yield "", f"no variable {name}"
    for each in found:
        if each.get("datasource", {}).get("uid") != "${datasource}" or wanted != {key: each.get(key) for key in wanted}:
            yield "", f"variable {name} is {each}"


def template_instance(board: Board) -> Iterator[Complaint]:
    yield from template_job(board, "instance")


def template_label_promql(board: Board) -> Iterator[Complaint]:
    for each in variables(board, "query"):
        found = re.search(r"([a-z_]+)\((.+)\)", each["query"]["query"])
        if not found or found[1] not in {"label_names", "label_values", "metrics", "query_result"}:
            yield "", f"variable {each['name']} asks {each['query']['query']}"
            continue
        try:
            parsed(found[2].rpartition(",")[0] or found[2])
        except ValueError as error:
            yield "", f"variable {each['name']}: {error}"


def template_on_time_change_reload(board: Board) -> Iterator[Complaint]:
    for each in variables(board, "query"):
        if each["refresh"] != 2:
            yield "", f"variable {each['name']} is not asked anew when the time changes"


def panel_datasource(board: Board) -> Iterator[Complaint]:
    for panel in panels(board):
        if panel.get("datasource", {}).get("uid") not in {"$datasource", "${datasource}"}:
            yield panel["title"], "its data source is no variable"


def panel_title_description(board: Board) -> Iterator[Complaint]:
    for panel in panels(board):
        if not panel["title"] or not panel["description"]:
            yield panel["title"], "lacks a title or a description"


def panel_units(board: Board) -> Iterator[Complaint]:
    for panel in panels(board):
        config = panel["fieldConfig"]
        units = [p["value"] for each in config["overrides"] for p in each["properties"] if p["id"] == "unit"]
        for unit in (config["defaults"].get("unit", ""), *units):
            if unit not in UNITS:
                yield panel["title"], f"unit {unit!r}"


def panel_no_targets(board: Board) -> Iterator[Complaint]:
    for panel in panels(board):
        if not panel["targets"]:
            yield panel["title"], "has no targets"


def target_promql(board: Board) -> Iterator[Complaint]:
    for title, expr in targets(board):
        try:
            parsed(expr)
        except ValueError as error:
            yield title, f"{expr}: {error}"


def target_rate_interval(board: Board) -> Iterator[Complaint]:
    for title, expr in targets(board):
        for node, parents in walk(parsed(expr)):
            if not isinstance(node, promql_parser.MatrixSelector) or parents[-1].func.name not in {"rate", "irate"}:
                continue
            if f"{node.range.total_seconds():g}s" != MAGIC["__rate_interval"]:
                yield title, f"{expr} should use $__rate_interval"


def target_job(board: Board, name: str = "job") -> Iterator[Complaint]:
    for title, expr in targets(board):
        for node, _ in walk(parsed(expr)):
            if isinstance(node, promql_parser.VectorSelector):
                found = {m.value for m in node.matchers.matchers if m.name == name and "Re" in str(m.op)}
                if f"${name}" not in found:
                    yield title, f'{expr} lacks {name}=~"${name}"'


def target_instance(board: Board) -> Iterator[Complaint]:
    yield from target_job(board, "instance")


def target_counter_agg(board: Board) -> Iterator[Complaint]:
    for title, expr in targets(board):
        for node, parents in walk(parsed(expr)):
            if isinstance(node, promql_parser.VectorSelector) and node.name.endswith("_total"):
                call = parents[-2] if len(parents) > 1 else None
                if not isinstance(call, promql_parser.Call) or call.func.name not in {"rate", "irate", "increase"}:
                    yield title, f"{node.name} is not under rate, irate or increase"


def uneditable(board: Board) -> Iterator[Complaint]:
    if board.get("editable") is not False:
        yield "", "is editable"


# Each with something that breaks it, done to the dashboard of engines.
RULES: dict[str, tuple[Rule, Callable[[Board], Any]]] = {
    "template-datasource-rule": (template_datasource, lambda b: b["templating"]["list"].pop(0)),
    "template-job-rule": (template_job, lambda b: b["templating"]["list"][1].update(multi=False)),
    "template-instance-rule": (template_instance, lambda b: b["templating"]["list"].pop(2)),
    "template-label-promql-rule": (
        template_label_promql,
        lambda b: b["templating"]["list"][1]["query"].update(query="label_values(up{, job)"),
    ),
    "template-on-time-change-reload-rule": (
        template_on_time_change_reload,
        lambda b: b["templating"]["list"][3].update(refresh=1),
    ),
    "panel-datasource-rule": (panel_datasource, lambda b: b["panels"][1]["datasource"].update(uid="mine")),
    "panel-title-description-rule": (panel_title_description, lambda b: b["panels"][1].update(description="")),
    "panel-units-rule": (panel_units, lambda b: b["panels"][1]["fieldConfig"]["defaults"].update(unit="furlongs")),
    "panel-no-targets-rule": (panel_no_targets, lambda b: b["panels"][1].update(targets=[])),
    "target-promql-rule": (target_promql, lambda b: b["panels"][1]["targets"][0].update(expr="sum(")),
    "target-rate-interval-rule": (
        target_rate_interval,
        lambda b: b["panels"][1]["targets"][0].update(expr='rate(a{job=~"$job"}[5m])'),
    ),
    "target-job-rule": (target_job, lambda b: b["panels"][1]["targets"][0].update(expr='up{job="$job"}')),
    "target-instance-rule": (target_instance, lambda b: b["panels"][1]["targets"][0].update(expr="up")),
    "target-counter-agg-rule": (
        target_counter_agg,
        lambda b: b["panels"][1]["targets"][0].update(expr='sum(a_total{job=~"$job"})'),
    ),
    "uneditable-dashboard": (uneditable, lambda b: b.update(editable=True)),
}


def excluded(rule: str) -> set[tuple[str, str]]:
    return {(entry["dashboard"], entry["panel"]) for entry in LINT.get(rule, {}).get("entries", [])}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
@pytest.mark.parametrize("rule", RULES)
def test_the_dashboard_keeps_the_rule(rule: str, board: Board) -> None:
    check, _ = RULES[rule]
    found = [each for each in check(board) if (board["title"], each[0]) not in excluded(rule)]
    assert found == []


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_finds_a_dashboard_that_breaks_it(rule: str) -> None:
    check, spoil = RULES[rule]
    board = copy.deepcopy(next(board for board in BOARDS if board["uid"] == "sloctl-engine"))
    spoil(board)
    assert list(check(board))


def test_exclusions_are_of_known_rules_each_needed_and_with_a_reason() -> None:
    assert set(LINT) <= set(RULES)
    for rule, exclusion in LINT.items():
        assert exclusion["reason"]
        check, _ = RULES[rule]
        assert excluded(rule) == {(board["title"], title) for board in BOARDS for title, _ in check(board)}
