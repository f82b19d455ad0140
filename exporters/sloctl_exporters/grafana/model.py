"""Grafana's dashboard JSON (schema version 39, Grafana 10.4 and newer), as far as sloctl's dashboards use it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN, YELLOW, RED, GREY = "green", "yellow", "red", "#6e7178"
MODEL_VARIANT = "{{model}} {{variant}}"  # a legend

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One query; `legend` uses labels as {{label}}; `instant` asks for one value, at the end of the shown time."""

    expr: str
    legend: str
    instant: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `states` maps values to (text, colour), `steps` colours from a value upwards."""

    title: str
    description: str
    targets: Sequence[Target]
    unit: str
    type: str = "timeseries"
    width: int = 8
    height: int = 8
    stack: bool = False
    low: float | None = None
    high: float | None = None
    steps: Sequence[tuple[float | None, str]] = ()
    states: Sequence[tuple[float, str, str]] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of panels, laid out from left to right, with a title."""

    title: str
    panels: Sequence[Panel]


def stat(title: str, description: str, target: Target, unit: str, **more: Any) -> Panel:
    """One big number a series."""
    return Panel(title, description, [target], unit, **{"type": "stat", "width": 4, "height": 4, **more})


def timeline(
    title: str, description: str, target: Target, states: Sequence[tuple[float, str, str]], **more: Any
) -> Panel:
    """States over time, a line a series."""
    return Panel(title, description, [target], "short", **{"type": "state-timeline", "states": states, **more})


def dashboard(uid: str, title: str, description: str, variables: Sequence[Json], rows: Sequence[Row]) -> Json:
    """The whole dashboard; ids are numbered in order, so that the same input gives the same JSON."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one crosshair over all panels
        "refresh": "10s",
        "tags": ["sloctl"],
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(variables)},
        "annotations": {"list": []},
        "links": [],
        "panels": _place(rows),
    }


def to_json(document: Json) -> str:
    """The text of a provisioned file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


# --- layout


def _place(rows: Sequence[Row]) -> list[Json]:
    placed: list[Json] = []
    top = 0
    for row in rows:
        placed.append(_row(len(placed) + 1, row.title, top))
        top += 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            box = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            placed.append(_panel(len(placed) + 1, panel, box))
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


def _row(number: int, title: str, top: int) -> Json:
    box = {"h": 1, "w": WIDTH, "x": 0, "y": top}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": box, "panels": []}


# --- panels


def _panel(number: int, panel: Panel, box: Json) -> Json:
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": box,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [_target(chr(ord("A") + index), target) for index, target in enumerate(panel.targets)],
    }


def _target(ref: str, target: Target) -> Json:
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": target.expr,
        "legendFormat": target.legend,
        "instant": target.instant,
        "range": not target.instant,
    }


def _defaults(panel: Panel) -> Json:
    steps = panel.steps or ((None, GREEN),)
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.type == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]},
        "mappings": _mappings(panel.states),
    }
    if panel.low is not None:
        defaults["min"] = panel.low
    if panel.high is not None:
        defaults["max"] = panel.high
    if panel.type == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stack else 10,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        }
    if panel.type == "state-timeline":
        defaults["custom"] = {"lineWidth": 0, "fillOpacity": 80}
    return defaults


def _mappings(states: Sequence[tuple[float, str, str]]) -> list[Json]:
    if not states:
        return []
    options = {
        f"{value:g}": {"text": text, "color": color, "index": index}
        for index, (value, text, color) in enumerate(states)
    }
    return [{"type": "value", "options": options}]


def _options(panel: Panel) -> Json:
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    tooltip = {"mode": "multi", "sort": "desc"}
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    by_type: dict[str, Json] = {
        "timeseries": {"legend": legend, "tooltip": tooltip},
        "state-timeline": {
            "legend": legend,
            "tooltip": tooltip,
            "mergeValues": True,
            "rowHeight": 0.8,
            "showValue": "auto",
        },
        "stat": {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "textMode": "auto"},
        "bargauge": {"reduceOptions": reduce, "displayMode": "basic", "orientation": "horizontal"},
    }
    return by_type[panel.type]
