"""The kinds of panels that the dashboards use."""

from collections.abc import Sequence
from typing import Any

from sloctl_exporters.grafana.model import Column, Json, Link, Panel, States, Target

_NOTHING = "–"  # in a cell


def lines(title: str, description: str, unit: str, *targets: Target, **more: Any) -> Panel:
    """Values over time, from zero upwards unless said otherwise."""
    return Panel(title, description, targets, unit, **{"low": 0, **more})


def stat(title: str, description: str, target: Target, unit: str, **more: Any) -> Panel:
    """One big number a series."""
    return Panel(title, description, [target], unit, **{"type": "stat", "width": 4, "height": 4, **more})


def timeline(title: str, description: str, target: Target, states: States, **more: Any) -> Panel:
    """States over time, a line a series."""
    return Panel(title, description, [target], "short", **{"type": "state-timeline", "states": states, **more})


def bars(title: str, description: str, unit: str, *targets: Target, **more: Any) -> Panel:
    """A bar a series: one value for the time shown."""
    return Panel(title, description, targets, unit, **{"type": "bargauge", "low": 0, **more})


def heatmap(title: str, description: str, unit: str, expr: str, **more: Any) -> Panel:
    """How often values of each bucket came, over time; `expr` is a rate by `le`."""
    return Panel(title, description, [Target(expr, "{{le}}", format="heatmap")], unit, type="heatmap", **more)


def table(
    title: str,
    description: str,
    keys: Sequence[str],
    columns: Sequence[Column],
    *,
    link: Link,
    by: str,
    descending: bool = False,
    **more: Any,
) -> Panel:
    """A line for each combination of the labels `keys`, sorted by the column `by`.

    `link` is where the last key leads. Each column's query is grouped by the keys, so that the lines can be joined.
    """
    letters = [chr(ord("A") + index) for index in range(len(columns))]
    names = [f"Value #{letter}" for letter in letters]
    order = [*keys, *names]
    transformations = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": {name: index for index, name in enumerate(order)},
                "renameByName": {name: column.title for name, column in zip(names, columns, strict=True)},
            },
        },
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": by, "desc": descending}]}},
    ]
    linked = [{"title": link.title, "url": link.url, "targetBlank": False}]
    return Panel(
        title,
        description,
        [Target(column.expr, instant=True, format="table") for column in columns],
        "short",
        type="table",
        transformations=transformations,
        overrides=[override(keys[-1], links=linked), *map(_column, columns)],
        **{"width": 24, "height": 14, **more},
    )


def matrix(title: str, description: str, unit: str, expr: str, row: str, column: str, **more: Any) -> Panel:
    """A table with a line for each value of the label `row`, and a column for each of the label `column`."""
    transformations = [
        {
            "id": "groupingToMatrix",
            "options": {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "null"},
        },
    ]
    target = Target(expr, instant=True, format="table")
    return Panel(title, description, [target], unit, type="table", transformations=transformations, **more)


def override(field: str, **properties: Any) -> Json:
    """Properties of one field; `custom__x` is written `custom.x`."""
    return {
        "matcher": {"id": "byName", "options": field},
        "properties": [{"id": name.replace("__", "."), "value": value} for name, value in properties.items()],
    }


def thresholds(steps: Sequence[tuple[float | None, str]]) -> Json:
    """Grafana's thresholds."""
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for value, color in steps]}


def mappings(states: States) -> list[Json]:
    """Grafana's value mappings: a text and a colour for each value."""
    if not states:
        return []
    options = {
        f"{value:g}": {"text": text, "color": color, "index": index}
        for index, (value, text, color) in enumerate(states)
    }
    return [{"type": "value", "options": options}]


def _column(column: Column) -> Json:
    properties: Json = {"unit": column.unit, "noValue": _NOTHING}
    if column.states:
        properties["mappings"] = mappings(column.states)
    if column.steps:
        properties["thresholds"] = thresholds(column.steps)
    if column.states or column.steps:
        properties["custom__cellOptions"] = {"type": "color-text"}
    return override(column.title, **properties)
