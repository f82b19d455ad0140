"""What the writers share."""

from typing import Any

from sloctl.slo.calendars import NOMINAL

Document = dict[str, Any]


class NoWords(ValueError):  # noqa: N818  what it says, not that it is an error
    """A format has no words for an objective; `field` is the one of the objective that it has none for."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def shorthand(seconds: float, field: str) -> str:
    """OpenSLO's duration: a number and one letter. Raises NoWords."""
    for unit in ("d", "h", "m"):
        count = seconds / NOMINAL[unit]
        if count == int(count):
            return f"{int(count)}{unit}"
    raise NoWords(field, f"{seconds:g} s are not whole minutes")


def lean(document: Document) -> Document:
    """Without fields that are empty: None, and empty text, lists and mappings."""
    return {name: value for name, value in document.items() if value not in (None, "", [], {})}
