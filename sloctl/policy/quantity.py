"""Numbers with a unit, as expressions write them: `250ms` and `1h30m`, `85%`, `2GiB`. Kept in the facts' base units."""

from decimal import Decimal

from sloctl.config.base import format_duration, parse_bytes, parse_duration

SECONDS, RATIO, BYTES = "s", "ratio", "bytes"
_SIZES = tuple((f"{prefix}iB", 1024.0**power) for power, prefix in ((4, "T"), (3, "G"), (2, "M"), (1, "K")))


def parse_quantity(text: str) -> tuple[float, str]:
    """Value and unit. Raises ValueError."""
    if text.endswith("%"):
        return float(Decimal(text[:-1]) / 100), RATIO
    for parse, unit in ((parse_duration, SECONDS), (parse_bytes, BYTES)):
        try:
            return float(parse(text)), unit
        except ValueError:
            continue
    raise ValueError(f"{text!r} has no unit that is known here: ms, s, m, h, d, w, %, B, KB, KiB, … TiB")


def format_quantity(value: float, unit: str) -> str:
    """The inverse: with its unit, or plain where there is none."""
    if value < 0:
        return f"-{format_quantity(-value, unit)}"
    if unit == SECONDS:
        return format_duration(value)
    if unit == RATIO:
        return f"{Decimal(repr(value)) * 100:f}".rstrip("0").rstrip(".") + "%" if value else "0%"
    if unit == BYTES:
        name, one = next((size for size in _SIZES if value >= size[1] and value % size[1] == 0), ("B", 1.0))
        return f"{value / one:.0f}{name}"
    return repr(float(value)).removesuffix(".0")
