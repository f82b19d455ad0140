"""What a dashboard is made of: queries, panels, rows, annotations. `document` turns it into Grafana's JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "#6e7178"

Json = dict[str, Any]
Steps = Sequence[tuple[float | None, str]]  # colours from a value upwards; None: from below all
States = Sequence[tuple[float, str, str]]  # value, text, colour


@dataclass(frozen=True, slots=True)
class Target:
    """One query; `legend` uses labels as {{label}}; `instant` asks for one value, at the end of the shown time."""

    expr: str
    legend: str = ""
    instant: bool = False
    format: str = "time_series"


@dataclass(frozen=True, slots=True)
class Link:
    """Where a click on a value leads; `url` may use `${__data.fields.NAME}` and dashboard variables."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of values in a table, from an instant query by the table's keys."""

    title: str
    expr: str
    unit: str
    steps: Steps = ()
    states: States = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    `limit` is a query of what the objective asks for, drawn as a red dashed line. `empty` says why there may be
    nothing to show, in place of Grafana's "No data". `transformations` and `overrides` are Grafana's own.
    """

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
    steps: Steps = ()
    states: States = ()
    limit: Target | None = None
    empty: str = ""
    transformations: Sequence[Json] = ()
    overrides: Sequence[Json] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A row of panels, laid out from left to right, with a title."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks on every graph: where `expr` is above 0, or (`at_value`) at the time that its value is, in milliseconds."""

    name: str
    expr: str
    title: str
    text: str
    color: str
    at_value: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The whole: `uid` is its address, `variables` are Grafana's own."""

    uid: str
    title: str
    description: str
    variables: Sequence[Json]
    rows: Sequence[Row]
    annotations: Sequence[Annotation] = ()
