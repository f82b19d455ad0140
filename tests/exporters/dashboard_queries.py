"""Asks a Prometheus every query of a dashboard, as Grafana would, with its macros and variables filled in.

Load it from anywhere with `importlib.util.spec_from_file_location`; the fixture `dashboard_queries` does.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from typing import Any

# Grafana's own, for a scrape interval of 1 s.
MACROS = {"__rate_interval": "4s", "__range": "10s", "__interval": "1s"}
ALL = {"job": ".+", "instance": ".+", "model": ".+"}

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def targets(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title of the panel and expression of every query, rows that hold their panels included."""
    for panel in dashboard["panels"]:
        for inner in panel.get("panels", []):
            yield from ((inner["title"], target["expr"]) for target in inner["targets"])
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", []))


def substitute(expr: str, variables: Mapping[str, str] | None = None) -> str:
    """The expression with `$name` and `${name}` filled in; an unknown name is an error."""
    values = MACROS | ALL | dict(variables or {})
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values[found[1] or found[2]], expr)


def ask(prometheus_url: str, expr: str) -> list[dict[str, Any]]:
    """The result of an instant query."""
    address = f"{prometheus_url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
    try:
        with _opener.open(address, timeout=10) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{expr}: {error.read().decode()}") from None
    result = answer["data"]["result"]
    assert isinstance(result, list)
    return result


def complaints(
    prometheus_url: str,
    dashboard: Mapping[str, Any],
    variables: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
) -> list[str]:
    """Queries that have no answer, or none that is a number. `skip` names panels not to ask for."""
    found = []
    for title, template in targets(dashboard):
        if title in skip:
            continue
        expr = substitute(template, variables)
        values = [sample["value"][1] for sample in ask(prometheus_url, expr)]
        if not values:
            found.append(f"{title}: no answer to {expr}")
        elif all(value == "NaN" for value in values):
            found.append(f"{title}: only NaN from {expr}")
    return found


def assert_dashboard_queries_answered(
    prometheus_url: str,
    dashboard: Mapping[str, Any],
    variables: Mapping[str, str] | None = None,
    skip: Collection[str] = (),
) -> None:
    """Fails with every query that a Prometheus at this address does not answer with a number."""
    found = complaints(prometheus_url, dashboard, variables, skip)
    assert not found, "\n".join(found)


def panels_of_row(dashboard: Mapping[str, Any], row: str) -> set[str]:
    """Titles of the panels in a row, as `skip` wants them (a daemon without GPUs has nothing to say on those)."""
    titles: set[str] = set()
    inside = False
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            inside = panel["title"] == row
        elif inside:
            titles.add(panel["title"])
    return titles
