"""YAML within bounds: text to plain values, every one with its place.

A file nests at most 64 levels (seen on the parser's events, before anything recurses) and expands through its
aliases to at most 100,000 values. Keys are text and unique; merge keys (`<<`) and tags are refused. Nothing
here raises on bad input: what is wrong comes back as problems.
"""

from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.reader import Reader

from sloctl.config.problems import Code, Place, Problem
from sloctl.config.sources import Document, Loc, Source, Spot, split_lines

MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_CHARACTERS = 4 * 1024 * 1024  # of all scalars together, aliases expanded

_TAG = "tag:yaml.org,2002:"


class _Refused(Exception):  # noqa: N818  never leaves this module
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def parse(source: Source) -> tuple[list[Document], list[Problem]]:
    """The documents of a file that are not empty, or what is wrong with them."""
    problems: list[Problem] = []
    try:
        _check_characters(source)
        _check_depth(source)
        walker = _Walker(source, problems)
        nodes = yaml.compose_all(source.text, Loader=yaml.CSafeLoader)
        composed = [walker.document(node) for node in nodes if node is not None]
    except yaml.YAMLError as error:
        return [], [_syntax(source, error)]
    except _Refused as refused:
        return [], [*problems, refused.problem]
    documents = [document for document in composed if document.value is not None]
    if not documents and not problems:
        expected = "at least one document with apiVersion and kind"
        problems.append(source.problem(Place(1, 1), Code.FILE_EMPTY, "holds no document", expected))
    return documents, problems


def _check_characters(source: Source) -> None:
    found = Reader.NON_PRINTABLE.search(source.text)
    if found:
        before = split_lines(source.text[: found.start()])
        place = Place(len(before), len(before[-1]) + 1)
        message = f"the character U+{ord(found[0]):04X} must not occur in YAML"
        expected = 'printable text; inside double quotes write an escape such as "\\0"'
        raise _Refused(source.problem(place, Code.YAML_CHARACTER, message, expected))


def _check_depth(source: Source) -> None:
    depth = 0
    for event in yaml.parse(source.text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise _Refused(_too_deep(source, _place(event.start_mark)))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _too_deep(source: Source, place: Place) -> Problem:
    return source.problem(place, Code.YAML_TOO_DEEP, f"nested more than {MAX_DEPTH} levels deep", "a flatter document")


def _syntax(source: Source, error: yaml.YAMLError) -> Problem:
    what = getattr(error, "problem", None) or getattr(error, "context", None) or "not YAML"
    context, began = getattr(error, "context", None), getattr(error, "context_mark", None)
    place = _place(getattr(error, "problem_mark", None) or began)
    line = source.line(place)
    before = line[: place.column - 1]
    if "\t" in (before[len(before.rstrip()) :] + line[place.column - 1 : place.column]):
        return source.problem(place, Code.YAML_TAB, "a tab where YAML wants spaces", "indentation with spaces")
    around = f" ({context} of line {began.line + 1})" if context and began else ""
    if began and not line.strip():  # at the end of the file, which says little; better where it began
        place = _place(began)
    return source.problem(place, Code.YAML_SYNTAX, f"not valid YAML: {what}{around}", _cure(what))


def _cure(what: str) -> str:
    if "mapping values are not allowed" in what:
        return 'quotes around a value that holds ": ", and one "key: value" a line'
    if "undefined alias" in what:
        return "an anchor (&name) before its alias (*name)"
    if "cannot start any token" in what:
        return "quotes around a value that begins with a special character"
    return "indentation that fits the lines above, and closed quotes and brackets"


def _place(start: Any, end: Any = None) -> Place:
    if start is None:
        return Place(1, 1)
    # Any: two unrelated classes of marks, of yaml's C parser and of its Python one.
    width = max(1, end.column - start.column) if end is not None and end.line == start.line else 1
    return Place(start.line + 1, start.column + 1, width)


class _Walker:
    """Nodes to values and spots. The bounds are for the whole file, with aliases expanded."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self._source = source
        self._problems = problems
        self._nodes = self._characters = 0
        self._spots: dict[Loc, Spot] = {}

    def document(self, root: yaml.Node) -> Document:
        """The values under a root. Raises _Refused when a bound is crossed; lesser problems are collected."""
        self._spots = {}
        value = self._value(root, (), self._place(root))
        return Document(self._source, value, self._spots)

    def _place(self, node: yaml.Node) -> Place:
        return _place(node.start_mark, node.end_mark if isinstance(node, yaml.ScalarNode) else None)

    def _value(self, node: yaml.Node, loc: Loc, key: Place) -> Any:
        place = self._place(node)
        self._spots[loc] = Spot(key, place, node)
        self._count(node, place, loc)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place, loc)
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            self._report(place, Code.YAML_TAG, f"the tag {_tag(node)} is not supported", "a value without a tag", loc)
        if isinstance(node, yaml.MappingNode):
            pairs = self._pairs(node, loc)
            return {name: self._value(item, (*loc, name), self._place(key)) for name, key, item in pairs}
        items = enumerate(node.value)
        return [self._value(item, (*loc, index), self._place(item)) for index, item in items]

    def _count(self, node: yaml.Node, place: Place, loc: Loc) -> None:
        self._nodes += 1
        self._characters += len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        if len(loc) >= MAX_DEPTH + 1:  # through an alias, perhaps to itself
            raise _Refused(_too_deep(self._source, place))
        if self._nodes > MAX_NODES or self._characters > MAX_CHARACTERS:
            message = f"more than {MAX_NODES} values, or 4 MiB of text, with all aliases expanded"
            # An alias leads back to its anchor's place; the outermost field is where it was used.
            place = self._spots[loc[:1]].key
            raise _Refused(self._source.problem(place, Code.YAML_TOO_BIG, message, "fewer values, fewer aliases"))

    def _pairs(self, node: yaml.MappingNode, loc: Loc) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        first: dict[str, Place] = {}
        for name_node, item in node.value:
            place = self._place(name_node)
            if not isinstance(name_node, yaml.ScalarNode):
                self._report(place, Code.YAML_KEY, "a key that is a list or a mapping", "text as the key", loc)
                continue
            name = name_node.value
            if name == "<<" and name_node.tag == f"{_TAG}merge":
                self._report(place, Code.YAML_KEY, "merge keys (<<) are not supported", "the fields written out", loc)
            elif name in first:
                where = f"line {first[name].line}, column {first[name].column}"
                message = f'"{name}" is given twice; the first is at {where}'
                self._report(place, Code.YAML_DUPLICATE_KEY, message, "each key once", (*loc, name))
            else:
                first[name] = place
                yield name, name_node, item

    def _scalar(self, node: yaml.ScalarNode, place: Place, loc: Loc) -> Any:
        try:
            return _SCALARS[node.tag](node)
        except KeyError:
            self._report(place, Code.YAML_TAG, f"the tag {_tag(node)} is not supported", "a value without a tag", loc)
        except (ValueError, OverflowError):
            self._report(place, Code.YAML_TAG, "not a number that can be read", "a shorter number, or quotes", loc)
        return node.value

    def _report(self, place: Place, code: Code, message: str, expected: str, loc: Loc) -> None:
        self._problems.append(self._source.problem(place, code, message, expected, loc))


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace(_TAG, "!!")


_constructor: Any = SafeConstructor()  # Any: its methods have no types
_SCALARS: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    f"{_TAG}null": lambda _: None,
    f"{_TAG}bool": lambda node: SafeConstructor.bool_values[node.value.lower()],
    f"{_TAG}int": _constructor.construct_yaml_int,
    f"{_TAG}float": _constructor.construct_yaml_float,
    f"{_TAG}str": lambda node: node.value,
    f"{_TAG}timestamp": lambda node: node.value,  # a date is only ever text here
    f"{_TAG}value": lambda node: node.value,  # a lone =
}
