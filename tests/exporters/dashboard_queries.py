"""Asks a Prometheus every query of a dashboard, as Grafana would, with its macros and variables filled in.

Load it from anywhere with `importlib.util.spec_from_file_location`; the fixture `dashboard_queries` does.
"""

import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Grafana's own, for a scrape interval of 1 s.
MACROS = {"__rate_interval": "4s", "__range": "10s", "__interval": "1s"}
ALL = {"job": ".+", "instance": ".+", "model": ".+", "gpu": ".+", "search": "", "slo": "latency", "pace": "5s"}

Series = tuple[dict[str, str], list[float]]  # labels and values over time
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Query:
    """A query of a panel or an annotation; `instant` ones are asked for one value."""

    title: str
    expr: str
    legend: str
    instant: bool
    labels: frozenset[str] = frozenset()  # what the answers must have besides the legend's

    @property
    def needed(self) -> set[str]:
        """Labels that every answer must have."""
        return set(re.findall(r"{{(\w+)}}", self.legend)) | self.labels


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All panels but rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Mapping[str, Any]) -> Iterator[Query]:
    """Every query of the panels and annotations."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"], target["legendFormat"], target["instant"], _joined(target))
    for mark in dashboard["annotations"]["list"]:
        yield Query(f"annotation {mark['name']}", mark["expr"], mark["titleFormat"] + mark["textFormat"], False)


def _joined(target: Mapping[str, Any]) -> frozenset[str]:
    """A table's columns: the labels that its query keeps."""
    if target["format"] != "table":
        return frozenset()
    renamed = re.findall(r'label_join\(.*, "(\w+)", " ", "model", "variant"\)', target["expr"])
    grouped = re.search(r"\w+ by \(([^)]*)\)", target["expr"])
    assert grouped, "a table's query is grouped"
    return frozenset(label.strip() for label in grouped[1].split(",")) | frozenset(renamed)


def substitute(expr: str, variables: Mapping[str, str] | None = None) -> str:
    """The expression with `$name` and `${name}` filled in; an unknown name is an error."""
    values = MACROS | ALL | dict(variables or {})
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values[found[1] or found[2]], expr)


def ask(prometheus_url: str, expr: str) -> list[dict[str, Any]]:
    """The result of an instant query."""
    return _call(prometheus_url, "query", query=expr)


def ask_over(prometheus_url: str, expr: str, seconds: float) -> list[Series]:
    """The result of a query over the last seconds, in steps of one."""
    now = time.time()
    found = _call(prometheus_url, "query_range", query=expr, start=now - seconds, end=now, step=1)
    return [(each["metric"], [float(value) for _, value in each["values"]]) for each in found]


def _call(prometheus_url: str, what: str, **arguments: Any) -> list[dict[str, Any]]:
    address = f"{prometheus_url.rstrip('/')}/api/v1/{what}?{urllib.parse.urlencode(arguments)}"
    try:
        with _opener.open(address, timeout=10) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{arguments['query']}: {error.read().decode()}") from None
    result = answer["data"]["result"]
    assert isinstance(result, list)
    return result


def answer(prometheus_url: str, query: Query, variables: Mapping[str, str] | None, seconds: float) -> list[Series]:
    """What Prometheus says to a query: over the last seconds, or now for an instant one."""
    expr = substitute(query.expr, variables)
    if query.instant:
        return [(each["metric"], [float(each["value"][1])]) for each in ask(prometheus_url, expr)]
    return ask_over(prometheus_url, expr, seconds)


def complaints(
    prometheus_url: str,
    dashboard: Mapping[str, Any],
    variables: Mapping[str, str] | None = None,
    *,
    skip: Collection[str] = (),
    seconds: float = 10.0,
) -> list[str]:
    """Queries without an answer, without a number in it, or whose legend names labels that no answer has.

    `skip` names panels not to ask for.
    """
    found = []
    for query in queries(dashboard):
        if query.title in skip:
            continue
        answers = answer(prometheus_url, query, variables, seconds)
        if not answers:
            found.append(f"{query.title}: no answer to {substitute(query.expr, variables)}")
        elif all(math.isnan(value) for _, values in answers for value in values):
            found.append(f"{query.title}: only NaN from {substitute(query.expr, variables)}")
        missing = {label for labels, _ in answers for label in query.needed if not labels.get(label)}
        if missing:
            found.append(f"{query.title}: answers lack {', '.join(sorted(missing))}, which it names")
    return found
