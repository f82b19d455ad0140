"""The part of Prometheus' alert templates that the daemon knows: a label or the value, maybe put through a function.

    {{ $labels.model }}   {{ $value }}   {{ $value | humanizeDuration }}

Whatever else stands between braces is left as it is. The functions print as Prometheus' template package does.
"""

import math
import re
from collections.abc import Callable, Mapping

_TEMPLATE = re.compile(r"\{\{ *(?:\$labels\.([A-Za-z_]\w*)|\$value(?: *\| *(\w+))?) *\}\}")
_LITERAL = re.compile(r'\{\{ *"([^"]*)" *\}\}')
_PARTS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def rendered(text: str, labels: Mapping[str, str], value: float) -> str:
    """The text with labels and value in their places; a label that is not there is empty."""

    def put(found: re.Match[str]) -> str:
        label, function = found.groups()
        if label is not None:
            return labels.get(label, "")
        shown = _FUNCTIONS.get(function or "")
        return found[0] if shown is None else shown(value)

    return _LITERAL.sub(lambda found: found[1], _TEMPLATE.sub(put, text))


def humanize_percentage(value: float) -> str:
    """`12.5%` of 0.125."""
    return f"{value * 100:.4g}%"


def humanize_duration(seconds: float) -> str:
    """`1d 2h 3m 4s`; below a minute with fractions, below a second with a metric prefix."""
    if not math.isfinite(seconds) or seconds == 0:
        return f"{seconds:.4g}" if not math.isfinite(seconds) else "0s"
    if abs(seconds) < 1:
        return _small(seconds) + "s"
    if abs(seconds) < 60:
        return f"{seconds:.4g}s"
    rest = int(abs(seconds))
    shown: list[str] = []
    for size, unit in _PARTS:
        count, rest = divmod(rest, size)
        if count or shown:
            shown.append(f"{count}{unit}")
    return ("-" if seconds < 0 else "") + " ".join(shown)


def humanize(value: float) -> str:
    """`1.234M` of 1,234,000."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    if abs(value) < 1:
        return _small(value)
    prefix = ""
    for bigger in "kMGTPEZY":
        if abs(value) < 1000:
            break
        prefix, value = bigger, value / 1000
    return f"{value:.4g}{prefix}"


def _small(value: float) -> str:
    prefix = ""
    for smaller in "munpfazy":
        if abs(value) >= 1:
            break
        prefix, value = smaller, value * 1000
    return f"{value:.4g}{prefix}"


_FUNCTIONS: dict[str, Callable[[float], str]] = {
    "": lambda value: f"{value:.6g}",
    "humanize": humanize,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": humanize_percentage,
}
