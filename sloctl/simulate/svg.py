"""A simulation as a picture: load against capacity, the precision in force, and budgets. Plain SVG, written by hand."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

from sloctl.config.base import format_duration
from sloctl.simulate.run import Point, Result

_WIDTH, _LEFT, _RIGHT = 960, 70, 20
_LOAD, _BAND, _BUDGET = (50, 260), (275, 295), (330, 430)  # top and bottom of each panel
_HEIGHT = 480
_PALETTE = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#97bbf5", "#9c6b4e")
_GREY, _GREEN = "#666666", "#2a9d55"


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values from 0 (or `low`) to `high` onto pixels."""

    low: float
    high: float
    first: float
    last: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        span = (self.high - self.low) or 1.0
        return self.first + (self.last - self.first) * (value - self.low) / span


def chart(result: Result, title: str) -> str:
    """The whole document."""
    points = result.points
    most = max([1e-9, *(max(point.offered, point.capacity) for point in points)])
    x = _Axis(0.0, result.seconds, _LEFT, _WIDTH - _RIGHT)
    load = _Axis(0.0, 1.05 * most, _LOAD[1], _LOAD[0])
    least = min([0.0, *(left for point in points for left in point.budgets.values())])
    budget = _Axis(max(least, -1.0), 1.0, _BUDGET[1], _BUDGET[0])
    parts = [
        _text(_LEFT, 22, title, size=15),
        *_grid(x, load, most),
        _line(points, x, load, lambda point: point.offered, _GREY),
        _line(points, x, load, lambda point: point.capacity, "#000000", dash="5 3"),
        _line(points, x, load, lambda point: point.in_time, _GREEN),
        *_legend(),
        *_band(points, tuple(result.shares), x),
        *_budgets(points, x, budget),
    ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, text: str, *, size: int = 11, fill: str = "#222222", anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"


def _line(
    points: Sequence[Point], x: _Axis, y: _Axis, value: Callable[[Point], float], colour: str, dash: str = ""
) -> str:
    path = " ".join(f"{x.at(point.at):.1f},{y.at(value(point)):.1f}" for point in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashed}/>'


def _grid(x: _Axis, load: _Axis, most: float) -> Iterable[str]:
    for part in (0.0, 0.5, 1.0):
        y = load.at(part * most)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>'
        yield _text(_LEFT - 6, y + 4, f"{part * most:.4g}/s", anchor="end")
    for part in range(7):
        seconds = x.high * part / 6
        shown = format_duration(round(seconds))
        yield _text(x.at(seconds), _HEIGHT - 20, shown, anchor="middle")


def _legend() -> Iterable[str]:
    for index, (name, colour) in enumerate((("offered", _GREY), ("answered in time", _GREEN), ("capacity", "#000000"))):
        yield _text(_LEFT + 130 * index, 42, f"— {name}", fill=colour)


def _band(points: Sequence[Point], variants: Sequence[str], x: _Axis) -> Iterable[str]:
    """The serving variant over time, a coloured strip with names where they fit."""
    top, bottom = _BAND
    yield _text(_LEFT - 6, bottom - 6, "precision", anchor="end")
    begun = 0.0
    for variant, run in groupby(points, key=lambda point: point.variant):
        end = list(run)[-1].at
        first, last = x.at(begun), x.at(end)
        colour = _PALETTE[variants.index(variant) % len(_PALETTE)]
        size = f'width="{last - first:.1f}" height="{bottom - top}"'
        yield f'<rect x="{first:.1f}" y="{top}" {size} fill="{colour}"/>'
        if last - first > 8 * len(variant):
            yield _text((first + last) / 2, bottom - 6, variant, fill="#ffffff", anchor="middle")
        begun = end


def _budgets(points: Sequence[Point], x: _Axis, y: _Axis) -> Iterable[str]:
    for level in (1.0, 0.0):
        at = y.at(level)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#dddddd"/>'
        yield _text(_LEFT - 6, at + 4, f"{level:.0%}", anchor="end")
    for index, name in enumerate(points[0].budgets if points else ()):
        colour = _PALETTE[index % len(_PALETTE)]
        yield _line(points, x, y, lambda point, slo=name: max(point.budgets[slo], y.low), colour)  # type: ignore[misc]  # a default binds the name now
        yield _text(_LEFT + 220 * (index % 4), _BUDGET[0] - 8, f"— budget left: {name}", fill=colour)
