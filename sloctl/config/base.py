"""What all configuration models share: camelCase in YAML, unknown fields refused, durations as people write them."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, WithJsonSchema
from pydantic.alias_generators import to_camel

FROM_FILE = {"from_file": True}
"""Validation context of what a person wrote, in which a duration without a unit is refused."""


class FieldError(ValueError):
    """A validator's complaint about a field within what it looks at: `place` leads there, names as in YAML."""

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


_UNITS = {
    unit: Decimal(s) for unit, s in (("ms", "0.001"), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 604800))
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")


def parse_duration(value: Any) -> float:
    """Seconds of `250ms`, `5m`, `1h30m`, `30d`; a bare number is refused, since it names no unit.

    Raises ValueError.
    """
    if isinstance(value, float):
        return value  # already parsed, as when a resolved configuration is read back
    if isinstance(value, str):
        parts = _PART.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            # In decimal, so that 1.1ms is the float that a person writes as 0.0011.
            return float(sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal(0)))
    raise ValueError("expected a duration such as 250ms, 5m, 1h30m or 30d")


def format_duration(seconds: float) -> str:
    """The shortest exact form of a finite duration of at least 0, the inverse of `parse_duration`."""
    if seconds != int(seconds):
        milliseconds = format(Decimal(repr(float(seconds))) * 1000, "f")
        return (milliseconds.rstrip("0").rstrip(".") if "." in milliseconds else milliseconds) + "ms"
    rest, parts = int(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _duration(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, float) and info.context == FROM_FILE:
        return parse_duration(str(value))  # refuses it: there is no unit
    return parse_duration(value)


DURATION_FORM = {"type": "string", "pattern": rf"^({_PART.pattern})+$", "examples": ["250ms", "5m", "1h30m", "30d"]}
Duration = Annotated[float, BeforeValidator(_duration), WithJsonSchema(DURATION_FORM)]
"""Seconds; written in YAML with a unit."""


_BYTES = re.compile(r"([0-9]+(?:\.[0-9]+)?)(B|KiB|MiB|GiB|TiB|KB|MB|GB|TB)")
_SIZES = {"B": 1} | {f"{prefix}B": 1000**i for i, prefix in enumerate("KMGT", 1)}
_SIZES |= {f"{prefix}iB": 1024**i for i, prefix in enumerate("KMGT", 1)}


def parse_bytes(value: Any) -> int:
    """Bytes of `512MiB`, `2GiB` or `1.5GB`; a bare number is refused from a file, since it names no unit.

    Raises ValueError.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (found := _BYTES.fullmatch(value)):
        return int(Decimal(found[1]) * _SIZES[found[2]])
    raise ValueError("expected bytes such as 512MiB or 2GiB")


def format_bytes(size: float) -> str:
    """Bytes for people, in binary units: `1.5 GiB`."""
    for unit, one in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if abs(size) >= one:
            return f"{size / one:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size:.0f} bytes"


def _bytes(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, int) and info.context == FROM_FILE:
        raise ValueError("expected bytes with a unit, such as 512MiB or 2GiB")
    return parse_bytes(value)


_BYTES_FORM = {"type": "string", "pattern": f"^{_BYTES.pattern}$", "examples": ["512MiB", "2GiB"]}
Bytes = Annotated[int, BeforeValidator(_bytes), WithJsonSchema(_BYTES_FORM)]
"""Bytes; written in YAML with a unit."""


class Model(BaseModel):
    """Base of every configuration model: frozen, camelCase aliases, unknown fields are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False
    )


class Metadata(Model):
    """`metadata` of a document."""

    name: str
    display_name: str | None = None
    labels: dict[str, str | list[str]] = {}
    annotations: dict[str, str] = {}
