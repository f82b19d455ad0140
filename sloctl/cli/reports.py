"""Problems for other programs: JSON, GitHub's annotations, SARIF 2.1.0."""

import json
from collections.abc import Sequence
from typing import Any

from sloctl import __version__
from sloctl.config.problems import Problem, show_path

REFERENCE = "docs/reference/errors.md"


def as_json(problems: Sequence[Problem]) -> str:
    """One object with all problems."""
    return json.dumps({"problems": [problem.as_dict() for problem in problems]}, indent=2)


def as_github(problems: Sequence[Problem]) -> str:
    """A workflow command for each problem, which GitHub shows beside the line."""
    return "\n".join(_command(problem) for problem in problems)


def _command(problem: Problem) -> str:
    place = {"file": show_path(problem.path)}
    if problem.line:
        place |= {"line": str(problem.line), "col": str(problem.column)}
    place["title"] = str(problem.code)
    properties = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in place.items())
    return f"::{problem.severity} {properties}::{_escaped(_sentence(problem))}"


def _escaped(text: str, more: str = "") -> str:
    for character in ("%", "\r", "\n", *more):  # the percent sign first
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _sentence(problem: Problem) -> str:
    return problem.message + (f"; expected: {problem.expected}" if problem.expected else "")


def as_sarif(problems: Sequence[Problem]) -> str:
    """A SARIF log, as code scanners take it."""
    codes = sorted({problem.code for problem in problems})
    rules = [{"id": str(code), "helpUri": f"{REFERENCE}#{code}"} for code in codes]
    driver = {"name": "sloctl", "version": __version__, "rules": rules}
    run = {"tool": {"driver": driver}, "results": [_result(problem) for problem in problems]}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(problem: Problem) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": {"uri": show_path(problem.path)}}
    if problem.line:
        end = problem.column + problem.width
        location["region"] = {"startLine": problem.line, "startColumn": problem.column, "endColumn": end}
    return {
        "ruleId": str(problem.code),
        "level": str(problem.severity),
        "message": {"text": _sentence(problem)},
        "locations": [{"physicalLocation": location}],
    }
