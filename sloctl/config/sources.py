"""Files with their text, and documents in which every value knows its place."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sloctl.config.problems import Code, Place, Problem, show_field

MAX_BYTES = 1024 * 1024

Loc = tuple[str | int, ...]
"""Path into a document: keys and indexes."""

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # YAML 1.1's line breaks
_ESCAPED = {"x": 4, "u": 6, "U": 10}  # lengths of \xNN, \uNNNN, \UNNNNNNNN


def split_lines(text: str) -> list[str]:
    """The lines of a text as YAML counts them."""
    return _BREAK.split(text)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a value lies: its key's place (the value's own in a sequence), its place, and its node."""

    key: Place
    value: Place
    node: yaml.Node


@dataclass(frozen=True, slots=True)
class Source:
    """A file's text, and problems in it."""

    path: Path
    text: str
    lines: list[str] = field(repr=False)

    @classmethod
    def of(cls, path: Path, text: str) -> "Source":
        """Splits the text into lines as YAML does."""
        return cls(path, text, split_lines(text))

    def problem(self, place: Place, code: Code, message: str, expected: str = "", loc: Loc = ()) -> Problem:
        """A problem at a place of this file."""
        line, column = place.line, place.column
        if line > len(self.lines):  # the parser's end of a text without a last line break
            line, column = len(self.lines), len(self.lines[-1]) + 1
        excerpt = self.lines[line - 1]
        return Problem(self.path, line, column, code, message, expected, show_field(loc), excerpt, place.width)

    def line(self, place: Place) -> str:
        """The line of a place; empty beyond the end."""
        return self.lines[place.line - 1] if place.line <= len(self.lines) else ""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: plain Python values, and the spot of every path into them."""

    source: Source
    value: Any
    spots: dict[Loc, Spot] = field(repr=False)

    def problem(
        self, loc: Loc, code: Code, message: str, expected: str = "", *, key: bool = False, column: int | None = None
    ) -> Problem:
        """A problem at `loc` or its nearest existing ancestor: at the key, or at a column (from 1) in the value."""
        near = self.nearest(loc)
        spot = self.spots[near]
        absent = len(near) < len(loc)
        place = spot.key if key or (absent and near) else spot.value
        if column is not None and not absent:
            place = inside(spot, column, self.source.lines)
        return self.source.problem(place, code, message, expected, loc)

    def nearest(self, loc: Loc) -> Loc:
        """The longest beginning of `loc` that this document has."""
        while loc not in self.spots:
            loc = loc[:-1]
        return loc

    def get(self, loc: Loc) -> Any:
        """The value at a path that exists."""
        value = self.value
        for step in loc:
            value = value[step]
        return value

    def where(self, loc: Loc) -> str:
        """`file:line:column` of a value, for a message about another one."""
        place = self.spots[self.nearest(loc)].value
        return f"{self.source.path.name}:{place.line}:{place.column}"


def read(path: Path) -> tuple[Source | None, list[Problem]]:
    """The text of a file, or why there is none."""

    def refuse(code: Code, message: str, expected: str, line: int = 0) -> tuple[None, list[Problem]]:
        return None, [Problem(path, line, int(line > 0), code, message, expected)]

    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return refuse(Code.FILE_UNREADABLE, f"cannot be read: {why.lower()}", "a file that this user may read")
    if len(raw) > MAX_BYTES:
        return refuse(Code.FILE_TOO_LARGE, "larger than 1 MiB", "at most 1 MiB; split it into several files")
    try:
        return Source.of(path, raw.decode("utf-8-sig")), []
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return refuse(Code.FILE_NOT_UTF8, f"byte {error.start} is not UTF-8", "text saved as UTF-8", line)


def inside(spot: Spot, column: int, lines: list[str]) -> Place:
    """The place of the `column`-th character (from 1) of a scalar's value in the file.

    Exact for plain and quoted scalars on one line; for others the scalar's start.
    """
    node, start = spot.node, spot.value
    if not isinstance(node, yaml.ScalarNode) or node.start_mark.line != node.end_mark.line or node.style in ("|", ">"):
        return start
    raw = lines[start.line - 1][start.column - 1 : start.column - 1 + start.width]
    at = 1 if node.style in ("'", '"') else 0
    for _ in range(column - 1):
        step = 1
        if node.style == '"' and raw[at : at + 1] == "\\":
            step = _ESCAPED.get(raw[at + 1 : at + 2], 2)
        elif node.style == "'" and raw[at : at + 2] == "''":
            step = 2
        at += step
    return Place(start.line, start.column + min(at, start.width - 1))
