"""Problems in configuration files, and how people see them: place, line, caret, what was expected."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

_WIDEST = 100  # characters of a line that are shown
_RED, _YELLOW, _BLUE, _BOLD, _PLAIN = "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"


class Severity(StrEnum):
    """Whether a file cannot be used, or can but hardly does what its author wants."""

    ERROR = "error"
    WARNING = "warning"


class Code(StrEnum):
    """What kind of problem it is. Each has its section in docs/reference/errors.md."""

    FILE_UNREADABLE = "file-unreadable"
    FILE_TOO_LARGE = "file-too-large"
    FILE_NOT_UTF8 = "file-not-utf8"
    FILE_EMPTY = "file-empty"
    YAML_SYNTAX = "yaml-syntax"
    YAML_TAB = "yaml-tab"
    YAML_CHARACTER = "yaml-character"
    YAML_TOO_DEEP = "yaml-too-deep"
    YAML_TOO_BIG = "yaml-too-big"
    YAML_DUPLICATE_KEY = "yaml-duplicate-key"
    YAML_KEY = "yaml-key"
    YAML_TAG = "yaml-tag"
    UNKNOWN_DOCUMENT = "unknown-document"
    MISPLACED_DOCUMENT = "misplaced-document"
    UNKNOWN_FIELD = "unknown-field"
    MISSING_FIELD = "missing-field"
    WRONG_TYPE = "wrong-type"
    OUT_OF_RANGE = "out-of-range"
    INVALID_VALUE = "invalid-value"
    NO_SUCH_FILE = "no-such-file"
    OPEN_CONTROL = "open-control"
    INVALID_DEVICE = "invalid-device"
    TOKEN_FILE = "token-file"  # noqa: S105  the name of a problem
    DUPLICATE_NAME = "duplicate-name"
    UNKNOWN_MODEL = "unknown-model"
    UNKNOWN_VARIANT = "unknown-variant"
    UNKNOWN_PRIORITY = "unknown-priority"
    UNKNOWN_TENANT = "unknown-tenant"
    UNKNOWN_REFERENCE = "unknown-reference"
    PROMETHEUS_SOURCE = "prometheus-source"
    SECOND_POLICY = "second-policy"
    INVALID_SLO = "invalid-slo"
    INVALID_LADDER = "invalid-ladder"
    INVALID_POLICY = "invalid-policy"
    INVALID_EXPRESSION = "invalid-expression"
    RESTART_NEEDED = "restart-needed"
    NOT_CONVERTIBLE = "not-convertible"
    UNFIRABLE_ALERT = "unfirable-alert"
    COARSE_SLICES = "coarse-slices"
    ROUNDED_TARGET = "rounded-target"
    TOO_FEW_EVENTS = "too-few-events"
    MINUTE_OR_MONTH = "minute-or-month"
    CONSTANT_INDICATOR = "constant-indicator"
    BEYOND_RETENTION = "beyond-retention"
    SHORT_WINDOW = "short-window"
    MANY_SERIES = "many-series"
    INVALID_QUERY = "invalid-query"
    FIXED_RANGE = "fixed-range"
    BUCKET_BOUND = "bucket-bound"
    CONSTANT_COMPARISON = "constant-comparison"
    NO_UNIT = "no-unit"
    WINDOW_NOT_KEPT = "window-not-kept"
    NOT_CARRIED = "not-carried"

    @property
    def severity(self) -> Severity:
        """Of every problem of this kind."""
        return Severity.WARNING if self in _WARNINGS else Severity.ERROR


_WARNINGS = frozenset(list(Code)[list(Code).index(Code.UNFIRABLE_ALERT) :])


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, both from 1, and how many characters a caret underlines."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem at one place; problems sort by file and place.

    `field` is the path in the document (`spec.rules[0].when`), `expected` what to write instead, `excerpt`
    the line of the file and `width` how much of it is meant. `line` 0 means the file as a whole.
    """

    path: Path
    line: int
    column: int
    code: Code
    message: str
    expected: str = ""
    field: str = ""
    excerpt: str = ""
    width: int = 1

    def render(self, *, color: bool = False) -> str:
        """Head line, excerpt with a caret, and what was expected; over several lines, without the last break."""
        where = _printable(show_path(self.path)) + (f":{self.line}:{self.column}" if self.line else "")
        style = _RED if self.severity is Severity.ERROR else _YELLOW
        kind = _paint(f"{self.severity}[{self.code}]", style, color)
        lines = [f"{_paint(where, _BOLD, color)}: {kind}: {_printable(self.message)}"]
        gutter = " " * len(str(self.line))
        if self.excerpt.strip():
            text, offset = _clip(_printable(self.excerpt), self.column - 1)
            carets = "^" * max(1, min(self.width, len(text) - offset))
            lines.append(_paint(f"{self.line} | ", _BLUE, color) + text)
            lines.append(_paint(f"{gutter} | ", _BLUE, color) + " " * offset + _paint(carets, style, color))
        if self.expected:
            lines.append(_paint(f"{gutter} = ", _BLUE, color) + f"expected: {_printable(self.expected)}")
        return "\n".join(lines)

    @property
    def severity(self) -> Severity:
        """That of its code."""
        return self.code.severity

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "file": show_path(self.path),
            "line": self.line,
            "column": self.column,
            "severity": str(self.severity),
            "code": str(self.code),
            "field": self.field,
            "message": self.message,
            "expected": self.expected,
        }


class ConfigError(Exception):
    """Configuration that cannot be used; `problems` are all that is wrong with it, and str() shows them."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = arranged(problems)
        super().__init__(render(self.problems))


def require(problems: Sequence[Problem]) -> None:
    """Raises ConfigError if there is any problem."""
    if problems:
        raise ConfigError(problems)


def arranged(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By file and place, each once."""
    return tuple(sorted(set(problems)))


def render(problems: Sequence[Problem], *, color: bool = False) -> str:
    """All problems, a blank line between them, and their number at the end."""
    files = len({problem.path for problem in problems})
    count = f"{len(problems)} problem{'s' * (len(problems) != 1)} in {files} file{'s' * (files != 1)}"
    if warnings := sum(problem.severity is Severity.WARNING for problem in problems):
        count += f", {warnings} of them {'a warning' if warnings == 1 else 'warnings'}"
    return "\n\n".join([*(problem.render(color=color) for problem in problems), count])


def show_field(loc: Sequence[str | int]) -> str:
    """`spec.rules[0].when` of a path into a document."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return text.removeprefix(".")


def show_path(path: Path) -> str:
    """Relative to the working directory where it lies beneath it."""
    text = str(path)
    here = os.path.join(os.getcwd(), "")
    return text.removeprefix(here)


def _paint(text: str, style: str, color: bool) -> str:
    return f"{style}{text}{_PLAIN}" if color else text


def _printable(text: str) -> str:
    # A file must not be able to steer the terminal that shows its errors.
    return "".join(c if c.isprintable() else " " if c == "\t" else "�" for c in text)


def _clip(text: str, offset: int) -> tuple[str, int]:
    """The part of a long line around `offset`, and the offset in it."""
    text = text.rstrip()
    offset = min(offset, len(text))
    if len(text) <= _WIDEST:
        return text, offset
    start = max(0, min(offset - _WIDEST // 2, len(text) - _WIDEST))
    head, tail = "…" * (start > 0), "…" * (start + _WIDEST < len(text))
    return head + text[start : start + _WIDEST] + tail, offset - start + len(head)
