"""Throughput against latency by batch size, a line for each variant, as SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.sax.saxutils import escape

from sloctl.build.advice import Advice, Point

_WIDTH, _HEIGHT = 860, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 150, 48, 60
# Okabe and Ito's palette, told apart with any colour vision.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True, slots=True)
class _Plane:
    """Latency (seconds, logarithmic) to x, throughput (rows a second) to y."""

    low: float
    high: float
    top: float

    def x(self, latency: float) -> float:
        share = (log10(latency) - self.low) / (self.high - self.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, throughput: float) -> float:
        return _HEIGHT - _BOTTOM - throughput / self.top * (_HEIGHT - _TOP - _BOTTOM)


def draw(title: str, advices: Sequence[Advice], objective: float) -> str:
    """The picture; `objective` in seconds is a vertical line, the advised batch sizes are filled. Needs a point."""
    everything = [point for advice in advices for point in advice.points]
    latencies = [objective, *(point.latency for point in everything)]
    low, high = floor(log10(min(latencies))), ceil(log10(max(latencies)))
    plane = _Plane(low, max(high, low + 1), 1.1 * max(point.throughput for point in everything))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif">',
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>',
        _text(_LEFT, 28, title, size=16),
        *_axes(plane),
        *_objective(plane, objective),
        *(part for index, advice in enumerate(advices) for part in _line(plane, advice, index)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _axes(plane: _Plane) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    yield f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#333"/>'
    for decade in range(int(plane.low), int(plane.high) + 1):
        x = plane.x(10.0**decade)
        yield f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#ddd"/>'
        yield _text(x, bottom + 18, _seconds(10.0**decade), anchor="middle")
    step = _step(plane.top)
    for count in range(int(plane.top / step) + 1):
        y = plane.y(count * step)
        yield f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
        yield _text(_LEFT - 8, y + 4, f"{count * step:,.6g}", anchor="end")
    yield _text((_LEFT + right) / 2, _HEIGHT - 16, "worst latency of a request (two batches, p99)", anchor="middle")
    yield _text(_LEFT, _TOP - 6, "rows a second", anchor="middle")


def _objective(plane: _Plane, objective: float) -> Iterator[str]:
    x = plane.x(objective)
    yield f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#333" stroke-dasharray="5 4"/>'
    yield _text(x, _TOP - 6, f"objective {_seconds(objective)}", anchor="middle")


def _line(plane: _Plane, advice: Advice, index: int) -> Iterator[str]:
    colour = _COLOURS[index % len(_COLOURS)]
    places = [(plane.x(point.latency), plane.y(point.throughput), point) for point in advice.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
    yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y, point in places:
        yield _dot(x, y, colour, chosen=point == advice.best, point=point)
    best = f": batch {advice.best.batch}" if advice.best else ": none fits"
    yield _text(_WIDTH - _RIGHT + 12, _TOP + 16 + 20 * index, advice.variant + best, colour=colour)


def _dot(x: float, y: float, colour: str, *, chosen: bool, point: Point) -> str:
    radius, fill = (6, colour) if chosen else (3, "#fff")
    words = f"batch {point.batch}: {point.throughput:,.0f} rows a second, {_seconds(point.latency)}"
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{colour}" stroke-width="2">'
    return f"{circle}<title>{words}</title></circle>"


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, colour: str = "#333") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" fill="{colour}">{escape(words)}</text>'


def _step(top: float) -> float:
    """1, 2 or 5 times a power of ten, four to ten steps high."""
    rough = top / 5
    power = 10.0 ** floor(log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)


def _seconds(value: float) -> str:
    unit, factor = next(((u, f) for u, f in (("s", 1.0), ("ms", 1e3)) if value * f >= 1), ("µs", 1e6))
    return f"{value * factor:.3g} {unit}"
