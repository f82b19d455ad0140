"""OpenSLO's duration shorthand: a number and one letter, in which `1m` is a minute and `1M` a month."""

import re
from typing import Annotated, Any, cast

from pydantic import BeforeValidator, WithJsonSchema

from sloctl.slo.calendars import NOMINAL, Unit

LONGEST = 366 * 86400.0
_FORM = re.compile(r"(\d{1,6})([mhdwMQY])")


def parse_shorthand(value: Any) -> tuple[int, Unit]:
    """Number and unit of `5m`, `1h`, `4w`, `1M`. Raises ValueError."""
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a duration such as 1h, 7d, 30d or 4w")
    return int(match[1]), cast("Unit", match[2])


def seconds_of(value: Any) -> float:
    """Seconds of a shorthand; a month counts 30 days, a quarter 90, a year 365. Raises ValueError."""
    count, unit = parse_shorthand(value)
    return count * NOMINAL[unit]


def parse_period(value: Any) -> float:
    """Seconds of a rolling period. Months, quarters and years have no fixed length. Raises ValueError."""
    _, unit = parse_shorthand(value)
    if unit in "MQY":
        raise ValueError(
            f"{value!r} is a calendar period; a rolling one is of fixed length: "
            "write 30d for a month, 90d for a quarter (1m, in lower case, is a minute)"
        )
    seconds = seconds_of(value)
    if not 60 <= seconds <= LONGEST:
        raise ValueError("a period lies between 1m and 366d")
    return seconds


def _checked(value: Any) -> Any:
    parse_shorthand(value)
    return value


SHORTHAND_FORM = {"type": "string", "pattern": r"^[0-9]{1,6}[mhdwMQY]$", "examples": ["5m", "1h", "30d", "1M"]}
Shorthand = Annotated[str, BeforeValidator(_checked), WithJsonSchema(SHORTHAND_FORM)]
"""A duration as OpenSLO writes it, kept as text since a calendar's has no seconds."""
