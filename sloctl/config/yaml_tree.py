"""YAML as its author wrote it: values with their quotes and blocks, and every comment at what it is about.

A comment behind something belongs to it; a line of comments to the field or item below it, unless it is indented
deeper than that: then it ends what stands above. A parser drops comments, so they are taken from between its tokens.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

_PROPERTIES = re.compile(r"^(?:[&!]\S*\s*)+(?=\s|$|(?<=\s))")  # an anchor and a tag before a value
_KEPT = re.compile(r"[|>][0-9]?\+")  # a block that keeps its last breaks

Position = tuple[int, int]
"""Line and column, from 0."""


@dataclass
class Scalar:
    """A value as written: `style` is its quote or block indicator, empty for a plain one; `raw` its text."""

    value: str
    style: str
    raw: str
    anchor: str | None = None
    tag: str | None = None


@dataclass
class Alias:
    """A reference to an anchor."""

    name: str


@dataclass
class Entry:
    """A field of a mapping, or an item of a list (without a key)."""

    start: Position
    key: Scalar | None
    value: "Node | None" = None
    leading: list[str] = field(default_factory=list)  # comments, and empty texts for blank lines
    trailing: list[str] = field(default_factory=list)


@dataclass
class Collection:
    """A mapping or a list; `tail` are comments behind its last entry."""

    start: Position
    mapping: bool
    braces: bool  # as written
    flow: bool  # to be laid out in braces, too
    anchor: str | None = None
    entries: list[Entry] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    end: Position = (0, 0)

    def holds(self, at: Position) -> bool:
        """Whether a place is between its braces."""
        return self.braces and self.start < at < self.end


Node = Scalar | Alias | Collection


@dataclass
class Tree:
    """A document; `head` are the comments above its first field."""

    start: Position
    root: Collection
    head: list[str] = field(default_factory=list)
    anchors: bool = False


@dataclass(frozen=True)
class Comment:
    """A comment with its sign; `alone` on its line or behind something."""

    start: Position
    text: str
    alone: bool


def trees(text: str) -> list[Tree]:
    """The documents of a text that parses, with all comments attached. Those that are no collection are left out.

    Raises ValueError for what a tree has no place for: directives.
    """
    found = _Builder(text).trees
    if found:
        _Attacher(text, found).attach(list(comments(text)))
    return found


def comments(text: str) -> Iterator[Comment]:
    """Every comment of a text that parses, in order."""
    at = 0
    lines = [0]
    for each in text.split("\n"):
        lines.append(lines[-1] + len(each) + 1)
    for begin, end in [*_covered(text), (len(text), len(text))]:
        while at < begin and (sign := text.find("#", at, begin)) >= 0:
            line = bisect_right(lines, sign) - 1
            at = lines[line + 1] - 1  # its end
            alone = not text[lines[line] : sign].strip()
            yield Comment((line, sign - lines[line]), text[sign:at].rstrip(), alone)
        at = max(at, end)


def _covered(text: str) -> Iterator[tuple[int, int]]:
    """Spans that hold no comments; of a block only what is below its first line."""
    for token in yaml.scan(text, Loader=yaml.CSafeLoader):
        start, end = token.start_mark.index, token.end_mark.index
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            header = text[start:end].partition("\n")[0]
            yield start, start + len(header.partition("#")[0])
            start += len(header)
        yield start, end


class _Builder:
    """The trees of a text, from the parser's events."""

    def __init__(self, text: str) -> None:
        self.trees: list[Tree] = []
        self._text = text
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._document(event)

    def _document(self, event: Any) -> None:
        if event.version or event.tags:
            raise ValueError("directives (%YAML, %TAG) are not kept")
        self._anchors = False
        root = self._node(next(self._events))
        if isinstance(root, Collection):
            root.flow = False  # a document is a block
            self.trees.append(Tree(_position(event.start_mark), root, anchors=self._anchors))

    def _node(self, event: Any) -> Node:
        if isinstance(event, yaml.AliasEvent):
            self._anchors = True
            return Alias(str(event.anchor))
        self._anchors = self._anchors or event.anchor is not None
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        mapping = isinstance(event, yaml.MappingStartEvent)
        found = Collection(_position(event.start_mark), mapping, event.flow_style, event.flow_style, event.anchor)
        while not isinstance(inner := next(self._events), yaml.CollectionEndEvent):
            start = _position(inner.start_mark)
            if mapping:
                found.entries.append(Entry(start, self._scalar(inner), self._node(next(self._events))))
            else:
                found.entries.append(Entry(start, None, self._node(inner)))
        found.end = _position(inner.end_mark)
        return found

    def _scalar(self, event: Any) -> Scalar:
        raw = _PROPERTIES.sub("", self._text[event.start_mark.index : event.end_mark.index])
        style = event.style if event.style in ("'", '"', "|", ">") else ""
        return Scalar(event.value, style, raw, event.anchor, event.tag)


def _position(mark: Any) -> Position:
    return mark.line, mark.column


@dataclass(frozen=True)
class _Place:
    """An entry with the collections around it, outermost first, and the entries that own these (the root: none)."""

    entry: Entry
    around: tuple[Collection, ...]
    owners: tuple[Entry | None, ...]


class _Attacher:
    """Puts comments and blank lines where they belong."""

    def __init__(self, text: str, found: list[Tree]) -> None:
        self._lines = text.split("\n")
        self._trees = found
        self._dashes: set[Position] = set()
        self._kept: set[int] = set()  # lines of blocks that keep their last breaks, so that a blank one is no mere gap
        for token in yaml.scan(text, Loader=yaml.CSafeLoader):
            start, end = token.start_mark, token.end_mark
            if isinstance(token, yaml.BlockEntryToken):
                self._dashes.add(_position(start))
            elif isinstance(token, yaml.ScalarToken) and _KEPT.match(text, start.index):
                self._kept |= set(range(start.line, end.line))
        self._places: list[_Place] = []
        for tree in found:
            self._walk(tree.root, (), (None,))
        self._starts = [place.entry.start for place in self._places]

    def _walk(self, collection: Collection, around: tuple[Collection, ...], owners: tuple[Entry | None, ...]) -> None:
        around = (*around, collection)
        for entry in collection.entries:
            if entry.key is None and not collection.braces:
                entry.start = self._dash(entry.start[0], collection.start[1])
            self._places.append(_Place(entry, around, owners))
            if isinstance(entry.value, Collection):
                self._walk(entry.value, around, (*owners, entry))

    def _dash(self, line: int, column: int) -> Position:
        while (line, column) not in self._dashes and line:
            line -= 1  # an item may begin below its dash
        return line, column

    def attach(self, found: list[Comment]) -> None:
        """Each comment, and the blank lines above entries and comments."""
        for comment in found:
            target = self._alone(comment) if comment.alone else self._behind(comment)
            if comment.alone and self._blank(comment.start[0] - 1):
                target.append("")
            target.append(comment.text)
        for entry in (place.entry for place in self._places):
            line, column = entry.start
            if not self._lines[line][:column].strip() and self._blank(line - 1):
                entry.leading.append("")
        for tree in self._trees:
            self._part(tree)

    @staticmethod
    def _part(tree: Tree) -> None:
        """Of several paragraphs above a document the last one is about its first field, if it touches that."""
        first = tree.root.entries[0] if tree.root.entries else None
        if first is None or not tree.head:
            return
        if first.leading == [""]:
            tree.head.append(first.leading.pop())  # stays below the head, wherever the field goes
        elif "" in tree.head[1:]:
            last = len(tree.head) - tree.head[::-1].index("")
            tree.head, first.leading = tree.head[:last], [*tree.head[last:], *first.leading]

    def _blank(self, line: int) -> bool:
        return line >= 0 and not self._lines[line].strip() and line not in self._kept

    def _tree(self, at: Position) -> Tree:
        return next((tree for tree in reversed(self._trees) if tree.start <= at), self._trees[0])

    def _beside(self, at: Position) -> tuple[Tree, _Place | None, _Place | None]:
        """The document of a place, and the entries before and behind it there."""
        tree, index = self._tree(at), bisect_right(self._starts, at)
        last, later = (self._places[i] if 0 <= i < len(self._places) else None for i in (index - 1, index))
        last = last if last and last.around[0] is tree.root else None
        return tree, last, later if later and later.around[0] is tree.root else None

    def _behind(self, comment: Comment) -> list[str]:
        tree, last, _ = self._beside(comment.start)
        if last is None:  # beside the dashes above a document
            return tree.head
        _unfold(last.around, comment.start)
        entry = last.entry
        for collection, owner in zip(last.around, last.owners, strict=True):
            if collection.braces and owner is not None and not collection.holds(comment.start):
                entry = owner  # behind the closing brace
                break
        return entry.trailing

    def _alone(self, comment: Comment) -> list[str]:
        """The end of what stands above, for a comment deeper than what stands below; else that one's head."""
        tree, last, later = self._beside(comment.start)
        if last is None:
            return tree.head
        value = last.entry.value
        around = [*last.around, value] if isinstance(value, Collection) else last.around
        _unfold(around, comment.start)
        least = later.entry.start[1] if later else -1
        for collection in reversed(around):
            if collection.holds(comment.start) and not collection.entries:
                return last.entry.leading
            if collection.holds(comment.start):
                return later.entry.leading if later and later.around[-1] is collection else collection.tail
            if not collection.braces and least < collection.start[1] <= comment.start[1]:
                return collection.tail
        return later.entry.leading if later else last.around[0].tail


def _unfold(around: Sequence[Collection], at: Position) -> None:
    """Collections in braces around a comment are laid out as blocks, which have room for it."""
    for collection in around:
        if collection.holds(at):
            collection.flow = False
