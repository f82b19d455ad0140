"""pydantic's errors as problems: at their place in the YAML, in words for the person who wrote it."""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from yaml import Node

from sloctl.config.base import FROM_FILE, FieldError, Model, format_duration
from sloctl.config.problems import Code, Problem
from sloctl.config.sources import Document, Loc

M = TypeVar("M", bound=Model)

_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
_TYPES = {  # a part of pydantic's error type -> what it wanted
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "none": "nothing",
}
_BOUNDS = {  # pydantic's error type and the name of its bound -> in words
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def validated(document: Document, model: type[M]) -> tuple[M | None, list[Problem]]:
    """The document as a model, or every problem that keeps it from being one."""
    try:
        return _validate(document.value, model), []
    except ValidationError as error:
        details = _details(error)
    return None, _joined([_problem(document, model, detail) for detail in details])


def salvaged(document: Document, model: type[M]) -> M | None:
    """The document without the fields that have problems, if it can do without them.

    It is good for nothing but finding more problems in the rest of it.
    """
    value = copy.deepcopy(document.value)
    try:
        return _validate(value, model)
    except ValidationError as error:
        for detail in _details(error):
            _drop(value, located(document, detail["loc"]))
    try:
        return _validate(value, model)
    except ValidationError:
        return None


def _details(error: ValidationError) -> list[ErrorDetails]:
    """The single errors, each at its place as far as that is known."""
    details = error.errors(include_url=False)
    for detail in details:
        raised = detail.get("ctx", {}).get("error")
        if isinstance(raised, FieldError):
            detail["loc"] += raised.place
    return details


def _validate(value: Any, model: type[M]) -> M:
    # As strict JSON: text is not taken for a number, nor true for 1; lists become tuples where asked.
    return model.model_validate_json(json.dumps(value), strict=True, context=FROM_FILE)


def _drop(value: Any, loc: Loc) -> None:
    """Removes the innermost field on the way; never an item of a list, since the others would move."""
    while loc and isinstance(loc[-1], int):
        loc = loc[:-1]
    for step in loc[:-1]:
        if isinstance(value, dict) and step not in value:
            return  # dropped before, with a field around it
        value = value[step]
    if loc:
        value.pop(loc[-1], None)


def _joined(problems: list[Problem]) -> list[Problem]:
    """One problem for each place and message: the branches of a union each complain of the same value."""
    found: dict[tuple[Any, ...], list[Problem]] = {}
    for problem in problems:
        found.setdefault((problem.line, problem.column, problem.code, problem.message), []).append(problem)
    joined = []
    for (line, column, code, message), same in found.items():
        first = same[0]
        expected = " or ".join(dict.fromkeys(p.expected for p in same if p.expected))
        joined.append(
            Problem(first.path, line, column, code, message, expected, first.field, first.excerpt, first.width)
        )
    return joined


def _problem(document: Document, model: type[Model], detail: ErrorDetails) -> Problem:
    kind, loc = detail["type"], located(document, detail["loc"])
    if kind == "extra_forbidden":
        return _unknown_field(document, model, loc)
    if kind == "missing":
        name = str(detail["loc"][-1])
        message = f'missing field "{name}"' + (f" in {loc[-1]}" if loc and isinstance(loc[-1], str) else "")
        return document.problem((*loc, name), Code.MISSING_FIELD, message, f"{name}: …")
    value = document.get(loc)
    name = _name(loc)
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        bound = _bound((detail.get("ctx") or {})[key], value)
        return document.problem(loc, Code.OUT_OF_RANGE, f"{name} is {_shown(value)}", f"{words} {bound}")
    if kind == "value_error":
        return document.problem(loc, Code.INVALID_VALUE, *_own(name, detail["msg"], value))
    wanted = _wanted_type(kind)
    if wanted and not kind.endswith(("too_short", "too_long")):
        if wanted == "text" and isinstance(value, bool | int | float):
            wanted = "text; put it in quotes"
        message = f"{name} is {_described(value, document.spots[loc].node)}"
        return document.problem(loc, Code.WRONG_TYPE, message, wanted)
    message, expected = _other(detail, name, value)
    return document.problem(loc, Code.INVALID_VALUE, message, expected)


def located(document: Document, loc: tuple[str | int, ...]) -> Loc:
    """The path in the document that pydantic means: names as written, without the branches of unions."""
    found: Loc = ()
    for step in loc:
        for written in (step, _snake(step)):  # a field may be written by either name
            if (*found, written) in document.spots:
                found = (*found, written)
                break
    return found


def _snake(step: str | int) -> str | int:
    return re.sub(r"([A-Z])", lambda m: "_" + m[1].lower(), step) if isinstance(step, str) else step


def _unknown_field(document: Document, model: type[Model], loc: Loc) -> Problem:
    written = {key for key in document.get(loc[:-1]) if key != loc[-1]}
    free = [name for name in _fields_at(model, loc[:-1]) if name not in written]
    name = str(loc[-1])
    expected = f"one of {', '.join(free)}" if free else "no more fields here"
    message = f'unknown field "{name}"{suggestion(name, free)}'
    return document.problem(loc, Code.UNKNOWN_FIELD, message, expected, key=True)


def suggestion(name: str, known: list[str]) -> str:
    """`; did you mean "x"?`, or nothing where no known name is close."""
    lower = {candidate.lower(): candidate for candidate in known}
    plain = name.lower().replace("_", "").replace("-", "")
    close = get_close_matches(plain, list(lower), n=1)
    return f'; did you mean "{lower[close[0]]}"?' if close else ""


def _fields_at(model: type[Model], loc: Loc) -> list[str]:
    classes = [model]
    for step in loc:
        fields = {name: field for each in classes for name, field in _fields(each)}
        if step in fields:
            classes = list(models_in(fields[step].annotation))
    return sorted({name for each in classes for name, _ in _fields(each)})


def _fields(model: type[Model]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if field.annotation is not type(None):  # such a field is known only to be refused with a reason
            yield field.alias or name, field


def models_in(annotation: Any) -> Iterator[type[Model]]:
    """The models among a field's types."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def _name(loc: Loc) -> str:
    return next((str(step) for step in reversed(loc) if isinstance(step, str)), "the document")


def _bound(bound: Any, value: Any) -> str:
    # Durations are bounded in seconds, but written with their unit; shares and sizes likewise.
    if not isinstance(value, str):
        return f"{bound:g}"
    if value.endswith("%"):
        return f"{bound:.0%}"
    return f"{bound:g} bytes" if value.endswith("B") else format_duration(bound)


def _wanted_type(kind: str) -> str:
    for part, wanted in _TYPES.items():
        if kind in (f"{part}_type", f"{part}_parsing", f"{part}_from_float"):
            return wanted
    return ""


def _own(name: str, message: str, value: Any) -> tuple[str, str]:
    """Our own validators' messages, with what they expect apart where they say so."""
    text, expected = parted(message.removeprefix("Value error, "))
    if not text and not isinstance(value, dict | list):
        return f"{name} is {_shown(value)}", expected
    text = text or f"expected {expected}"
    return (text if text.startswith(name) else f"{name}: {text}"), expected


def parted(message: str) -> tuple[str, str]:
    """What is wrong, and what was expected, of a message that says `…; expected …`."""
    text, found, expected = f"; {message}".rpartition("; expected ")
    return (text.removeprefix("; "), expected) if found else (message, "")


def _other(detail: ErrorDetails, name: str, value: Any) -> tuple[str, str]:
    context: Mapping[str, Any] = detail.get("ctx") or {}
    rewrite = _REWRITES.get(detail["type"])
    if rewrite is not None:
        return rewrite(name, value, context)
    return f"{name} is {_shown(value)}", detail["msg"].removeprefix("Input should be ")


def _literal(name: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    choices = re.findall(r"'([^']*)'", str(context["expected"]))
    return f"{name} is {_shown(value)}{suggestion(str(value), choices)}", str(context["expected"])


def _pattern(name: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    words = "1 to 63 letters, digits, dots, dashes and underscores, the first a letter or a digit"
    pattern = str(context["pattern"])
    return f"{name} is {_shown(value)}", words if pattern == _NAME_PATTERN else f"text that matches {pattern}"


def _short(name: str, _: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    least = context["min_length"]
    return f"{name} is too short" if context.get("actual_length") else f"{name} is empty", f"at least {least}"


def _long(name: str, _: Any, context: Mapping[str, Any]) -> tuple[str, str]:
    return f"{name} has {context.get('actual_length', 'too many')} entries", f"at most {context['max_length']}"


_Rewrite = Callable[[str, Any, Mapping[str, Any]], tuple[str, str]]
_REWRITES: dict[str, _Rewrite] = {
    "literal_error": _literal,
    "enum": _literal,
    "string_pattern_mismatch": _pattern,
    "too_short": _short,
    "string_too_short": _short,
    "too_long": _long,
    "string_too_long": _long,
    "finite_number": lambda name, value, _: (f"{name} is {_shown(value)}", "a finite number"),
}


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _described(value: Any, node: Node) -> str:
    """The value with its type, and as written where YAML made something else of it."""
    match value:
        case None:
            return "empty"
        case bool():
            unusual = node.value.lower() not in ("true", "false")
            return f"{_shown(value)}" + (f" (YAML takes {node.value} for it)" if unusual else "")
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"the text {_shown(value)}"
    return f"the number {_shown(value)}"
