"""A backtest as a picture: what is left of each budget, when alerts fired, and the incidents. Plain SVG."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from sloctl.cases.backtest import Incident, Result

_WIDTH, _LEFT, _RIGHT, _PANEL, _TOP = 960, 70, 20, 120, 60
_TIERS = {"page": "#c0392b", "ticket": "#d68910"}
_LINE, _GREY, _INK, _INCIDENT = "#2874a6", "#888888", "#666666", "#9b59b6"


def chart(result: Result, incidents: Sequence[Incident], title: str) -> str:
    """The whole document: a panel for each SLO."""
    slos = list(result.points[0][1]) if result.points else []
    first, last = (result.points[0][0], result.points[-1][0]) if result.points else (0.0, 1.0)
    height = _TOP + len(slos) * _PANEL + 30
    parts = [_text(_LEFT, 22, title, size=15), *_legend()]
    for number, slo in enumerate(slos):
        parts += _panel(
            result, [i for i in incidents if i.slo in (None, slo)], slo, _TOP + number * _PANEL, first, last
        )
    parts += [
        _text(_LEFT, height - 10, _when(first)),
        _text(_WIDTH - _RIGHT, height - 10, _when(last), anchor="end"),
    ]
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">\n'
        f"{body}\n</svg>\n"
    )


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _text(x: float, y: float, text: str, *, size: int = 11, fill: str = _INK, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"


def _legend() -> Iterable[str]:
    named = [("budget left", _LINE), *((f"{tier} fires", colour) for tier, colour in _TIERS.items())]
    for index, (name, colour) in enumerate([*named, ("incident", _INCIDENT)]):
        yield _text(_LEFT + 130 * index, 42, f"— {name}", fill=colour)


def _panel(result: Result, incidents: Sequence[Incident], slo: str, top: float, first: float, last: float) -> list[str]:
    bottom, width = top + _PANEL - 40, _WIDTH - _LEFT - _RIGHT
    values = [budgets[slo] for _, budgets in result.points]
    low = min(0.0, *values)

    def x(moment: float) -> float:
        return _LEFT + width * min(max((moment - first) / ((last - first) or 1.0), 0.0), 1.0)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (1.0 - low)

    path = " ".join(f"{x(at):.1f},{y(budgets[slo]):.1f}" for at, budgets in result.points)
    parts = [_text(_LEFT, top - 5, slo, size=12)]
    for value in dict.fromkeys((1.0, 0.0, low)):
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#cccccc"/>'
        )
        parts.append(_text(_LEFT - 6, y(value) + 4, f"{value:.0%}", anchor="end"))
    parts += [_band(x(each.start), x(each.end), top, bottom, _INCIDENT, 0.25) for each in incidents]
    parts.append(f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>')
    for row, (tier, colour) in enumerate(_TIERS.items()):
        for each in result.episodes:
            if (each.slo, each.tier) == (slo, tier):
                at = bottom + 4 + 8 * row
                parts.append(_band(x(each.began), x(each.ended or last), at, at + 6, colour, 1.0))
    return parts


def _band(left: float, right: float, top: float, bottom: float, colour: str, opacity: float) -> str:
    size = f'width="{max(right - left, 1.0):.1f}" height="{bottom - top:.1f}"'
    return f'<rect x="{left:.1f}" y="{top:.1f}" {size} fill="{colour}" fill-opacity="{opacity}"/>'
