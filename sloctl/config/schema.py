"""JSON Schema (2020-12) of every kind of document, for editors: from the models, with what their source says.

A schema says less than `sloctl validate`: fields that exclude each other, bounds of durations and names that must
exist are left to it.
"""

import inspect
import io
import json
import re
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sloctl.config.base import DURATION_FORM, Model, format_duration
from sloctl.config.documents import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMBINED = "sloctl"
"""Name of the schema of all kinds."""


def schemas() -> dict[str, JsonSchemaValue]:
    """The schema of every kind by its name in `names`, and the one of all kinds by apiVersion and kind."""
    single = {name: _single(kind) for name, kind in names().items()}
    return {COMBINED: _combined(single)} | {name: {"$schema": DIALECT, **body} for name, body in single.items()}


def _single(kind: tuple[str, str]) -> JsonSchemaValue:
    # Sloth's files write their fields with underscores; all others, its Kubernetes resource too, in camelCase.
    return KINDS[kind].model_json_schema(schema_generator=_Generator, by_alias=bool(kind[1]))


def names() -> dict[str, tuple[str, str]]:
    """Names of schemas, as files have them: `openslo-slo`, `daemon`, `sloth` of `prometheus/v1`."""
    return {_name(version, kind): (version, kind) for version, kind in KINDS}


def _name(version: str, kind: str) -> str:
    if not kind:
        return "sloth"  # whose files have no kind
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower()
    return f"openslo-{words}" if version.startswith("openslo/") else words


def to_text(schema: JsonSchemaValue) -> str:
    """As a file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _combined(single: Mapping[str, JsonSchemaValue]) -> JsonSchemaValue:
    heads = {name: _head(*kind) for name, kind in names().items()}
    return {
        "$schema": DIALECT,
        "title": "What sloctl reads",
        "type": "object",
        "anyOf": list(heads.values()),
        "allOf": [{"if": head, "then": {"$ref": f"#/$defs/{name}"}} for name, head in heads.items()],
        "$defs": {name: _inside(name, body) for name, body in single.items()},
    }


def _inside(name: str, body: JsonSchemaValue) -> Any:
    """A schema as a definition of another one: its own definitions move with it."""
    return json.loads(json.dumps(body).replace('"#/$defs/', f'"#/$defs/{name}/$defs/'))


def _head(version: str, kind: str) -> JsonSchemaValue:
    """By what a document of a kind is known."""
    given = {"apiVersion": {"const": version}, "kind": {"const": kind}} if kind else {"version": {"const": version}}
    return {"properties": given, "required": list(given)}


class _Generator(GenerateJsonSchema):
    """Without titles of fields, which only repeat their names; with the comments of the source as descriptions."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  pydantic's signature
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        model = schema["cls"]
        if issubclass(model, Model) and "properties" in found:
            found["properties"] = dict(_properties(model, found["properties"]))
        return found


def _properties(model: type[Model], properties: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    comments = _comments(model)
    for name, field in model.model_fields.items():
        alias = field.alias if field.alias and field.alias in properties else name
        if field.annotation is type(None):
            continue  # known only to be refused with a reason
        said = {"description": comments[name]} if name in comments else {}
        written = {**said, **properties[alias]}
        default = written.get("default")
        if default is None or isinstance(default, dict):
            written.pop("default", None)
        elif isinstance(default, float) and written.get("pattern") == DURATION_FORM["pattern"]:
            written["default"] = format_duration(default)
        yield alias, written


@cache
def _comments(model: type[Model]) -> Mapping[str, str]:
    """The comments behind the fields of a model and its bases, by field."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, Model):
            try:
                source = inspect.getsource(each)
            except OSError:
                continue  # an installation without sources
            found |= dict(_trailing(source))
    return found


def _trailing(source: str) -> Iterator[tuple[str, str]]:
    field = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.start[1] == 4:
            field = token.string
        elif token.type == tokenize.COMMENT and token.line[: token.start[1]].strip():
            text = token.string.lstrip("# ")
            if not text.startswith(("noqa", "type:")):
                yield field, text
