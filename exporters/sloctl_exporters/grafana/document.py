"""Grafana's dashboard JSON (schema version 39, Grafana 10.4 and newer), as far as sloctl's dashboards use it."""

import json
from collections.abc import Sequence

from sloctl_exporters.grafana.model import GREEN, RED, Annotation, Dashboard, Json, Panel, Row, Target
from sloctl_exporters.grafana.options import custom, options
from sloctl_exporters.grafana.panels import mappings, override, thresholds
from sloctl_exporters.grafana.variables import DATASOURCE

WIDTH = 24
TAG = "sloctl"


def document(dashboard: Dashboard) -> Json:
    """The whole dashboard; ids are numbered in order, so that the same input gives the same JSON."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # one crosshair over all panels
        "refresh": "10s",
        "tags": [TAG],
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": list(dashboard.variables)},
        "annotations": {"list": [_annotation(each) for each in dashboard.annotations]},
        "links": [_other_dashboards()],
        "panels": _place(dashboard.rows),
    }


def to_json(content: Json) -> str:
    """The text of a provisioned file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _other_dashboards() -> Json:
    """Links to all dashboards with our tag but this one, which take time and variables along."""
    return {
        "type": "dashboards",
        "tags": [TAG],
        "title": TAG,
        "tooltip": "",
        "url": "",
        "icon": "external link",
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _annotation(annotation: Annotation) -> Json:
    return {
        "name": annotation.name,
        "enable": True,
        "hide": False,
        "iconColor": annotation.color,
        "datasource": DATASOURCE,
        "target": {"refId": "annotation", "expr": annotation.expr, "range": True, "instant": False},
        "expr": annotation.expr,  # where Grafana before 11 looks for it
        "titleFormat": annotation.title,
        "textFormat": annotation.text,
        "tagKeys": "",
        "useValueForTime": annotation.at_value,
    }


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
    targets = [*panel.targets, *([panel.limit] if panel.limit else [])]
    overrides = [*panel.overrides, *([_limit_line(panel.limit.legend)] if panel.limit else [])]
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": box,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": overrides},
        "options": options(panel),
        "targets": [_target(chr(ord("A") + index), target) for index, target in enumerate(targets)],
        "transformations": list(panel.transformations),
    }


def _target(ref: str, target: Target) -> Json:
    return {
        "refId": ref,
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": target.expr,
        "format": target.format,
        "legendFormat": target.legend,
        "instant": target.instant,
        "range": not target.instant,
    }


def _limit_line(legend: str) -> Json:
    color = {"mode": "fixed", "fixedColor": RED}
    dashed = {"fill": "dash", "dash": [8, 8]}
    return override(legend, color=color, custom__lineStyle=dashed, custom__fillOpacity=0)


def _defaults(panel: Panel) -> Json:
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.type == "timeseries" else "thresholds"},
        "thresholds": thresholds(panel.steps or ((None, GREEN),)),
        "mappings": mappings(panel.states),
        "custom": custom(panel),
    }
    optional = {"min": panel.low, "max": panel.high, "noValue": panel.empty or None}
    return defaults | {name: value for name, value in optional.items() if value is not None}
