"""One form for documents: fields in the order of their models, durations in their shortest form, one layout.

Comments go where what they are about goes. Nothing but the form changes: the result is read again and held against
what was there, documents and comments.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from sloctl.config.base import DURATION_FORM, Model, format_duration, parse_duration
from sloctl.config.documents import KINDS, Files, check_forms, kind_of
from sloctl.config.messages import models_in, validated
from sloctl.config.problems import Problem, arranged
from sloctl.config.sources import Source
from sloctl.config.yaml_layout import laid_out
from sloctl.config.yaml_tree import Collection, Entry, Node, Scalar, comments, trees
from sloctl.slo.openslo_model import TimeWindow

_FIRST: Mapping[type[Model], tuple[str, ...]] = {TimeWindow: ("duration",)}
"""Fields that go first although their models have them later."""


def formatted(source: Source) -> tuple[str, tuple[Problem, ...]]:
    """A file's text in its one form, or the text as it is and what is wrong with it.

    Raises ValueError where the form cannot say all that the text says.
    """
    text = "\n".join(source.lines)
    files = Files.of([Source.of(source.path, text)])
    if problems := [*files.problems, *check_forms(files.documents)]:
        return source.text, arranged(problems)
    found = trees(text)
    for tree, document in zip(found, files.documents, strict=True):
        _settle(tree.root, [KINDS[kind_of(document)]], ordered=not tree.anchors)
    result = laid_out(found)
    _hold(source, text, files, result)
    return result, ()


def _hold(source: Source, text: str, before: Files, result: str) -> None:
    """Raises ValueError unless a result says what the text said."""
    after = Files.of([Source.of(source.path, result)])
    models = [[validated(d, KINDS[kind_of(d)])[0] for d in files.documents] for files in (before, after)]
    said = [Counter(comment.text for comment in comments(each)) for each in (text, result)]
    if after.problems or models[0] != models[1] or said[0] != said[1]:
        raise ValueError(f"{source.path} cannot be laid out without loss")


def _settle(node: Node | None, models: Sequence[type[Model]], *, ordered: bool) -> None:
    """Orders the fields of models, and writes durations in their shortest form, all the way down."""
    if not isinstance(node, Collection):
        return
    fields = [field for model in models for field in _fields(model)] if node.mapping else []
    places = {name: place for place, (names, _) in enumerate(fields) for name in names}
    if ordered:
        node.entries.sort(key=lambda entry: places.get(_name(entry), len(places)))
    for entry in node.entries:
        place = places.get(_name(entry))
        if place is None:  # an item, or a name that the author chose
            _settle(entry.value, models, ordered=ordered)
            continue
        field = fields[place][1]
        if isinstance(entry.value, Scalar) and _is_duration([*field.metadata, field.annotation]):
            _shorten(entry.value)
        _settle(entry.value, list(models_in(field.annotation)), ordered=ordered)


def _name(entry: Entry) -> str:
    return entry.key.value if entry.key else ""


def _fields(model: type[Model]) -> list[tuple[set[str], FieldInfo]]:
    """Each field with the names that it may be written by, in order."""
    first = _FIRST.get(model, ())
    order = sorted(model.model_fields.items(), key=lambda item: item[0] not in first)
    return [({name, field.alias or name}, field) for name, field in order]


def _is_duration(parts: Sequence[Any]) -> bool:
    return any(
        part.json_schema is DURATION_FORM if isinstance(part, WithJsonSchema) else _is_duration(get_args(part))
        for part in parts
    )


def _shorten(scalar: Scalar) -> None:
    if "\n" not in scalar.raw and scalar.style not in ("|", ">"):
        scalar.value = scalar.raw = format_duration(parse_duration(scalar.value))
        scalar.style = ""
