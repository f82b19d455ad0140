"""The parameters of a V2 request, its inputs and its outputs: read and checked one by one."""

from typing import Any

from sloctl.serving.errors import invalid

Parameters = dict[str, Any] | None


def whole(parameters: Parameters, name: str) -> int | None:
    """A parameter that is a whole number from 0 on; None where it is absent. Raises RequestError."""
    value = parameters.get(name) if parameters else None
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise invalid(f"parameter {name!r} is {value!r}; expected a whole number from 0 on")
    return value


def flag(parameters: Parameters, name: str, default: bool) -> bool:
    """A parameter that is true or false. Raises RequestError."""
    value = parameters.get(name) if parameters else None
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid(f"parameter {name!r} is {value!r}; expected true or false")
    return value


def text(parameters: Parameters, name: str) -> str | None:
    """A parameter that is a string; None where it is absent. Raises RequestError."""
    value = parameters.get(name) if parameters else None
    if value is not None and not isinstance(value, str):
        raise invalid(f"parameter {name!r} is {value!r}; expected a string")
    return value
