"""What all configuration models share: camelCase in YAML, unknown fields refused, durations as people write them."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_duration(value: Any) -> float:
    """Seconds of `250ms`, `5m`, `1h30m`, `30d`; a bare number is refused, since it names no unit.

    Raises ValueError.
    """
    if isinstance(value, float):
        return value  # already parsed, as when a resolved configuration is read back
    if isinstance(value, str):
        parts = _PART.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            return sum(float(number) * _UNITS[unit] for number, unit in parts)
    raise ValueError("expected a duration such as 250ms, 5m, 1h30m or 30d")


def format_duration(seconds: float) -> str:
    """The shortest exact form of a duration, the inverse of `parse_duration`."""
    if seconds < 1 or seconds != int(seconds):
        return f"{seconds * 1000:g}ms"
    rest, parts = int(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds; written in YAML with a unit."""


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
