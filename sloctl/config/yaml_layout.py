"""YAML trees to text, in one form: two spaces, lists not indented below their field, as few quotes as are safe.

Braces stay where they fit on a line; blocks stay blocks. Comments stand above what they are about, or behind it.
"""

import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import yaml
from yaml.emitter import Emitter
from yaml.resolver import Resolver

from sloctl.config.yaml_tree import Alias, Collection, Entry, Node, Scalar, Tree

WIDTH = 120
_STEP = "  "
_TAG = "tag:yaml.org,2002:"
# What other parsers than ours might take for something else than text.
_DOUBTFUL = re.compile(r"[-+.0-9]|(y|yes|n|no|on|off|true|false|null)$", re.IGNORECASE)
_emitter: Any = Emitter(io.StringIO())  # Any: its methods have no types
_resolver: Any = Resolver()


def laid_out(trees: Sequence[Tree]) -> str:
    """The text of documents."""
    return "---\n".join("".join(f"{line}\n" for line in _document(tree)) for tree in trees)


def _document(tree: Tree) -> list[str]:
    head = [line for index, line in enumerate(tree.head) if line or index]
    return [*head, *_block(tree.root, "")]


def _block(collection: Collection, indent: str) -> list[str]:
    lines = [line for entry in collection.entries for line in _entry(entry, indent)]
    lines += _comments(collection.tail, indent)
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def _comments(texts: Sequence[str], indent: str) -> list[str]:
    return [f"{indent}{text}" if text else "" for text in texts]


def _entry(entry: Entry, indent: str) -> list[str]:
    value, leading, trailing = entry.value, list(entry.leading), list(entry.trailing)
    prefix = f"{indent}-" if entry.key is None else f"{indent}{_inline(entry.key, key=True)}:"
    if entry.key is None and isinstance(value, Collection) and not value.anchor and not _in_braces(value, prefix):
        inner = _block(value, indent + _STEP)
        leading, trailing = [*leading, *trailing], []
        while not inner[0] or inner[0].lstrip().startswith("#"):  # above the dash it stands for all of the item
            leading += [comment] if (comment := inner.pop(0).strip()) else []
        body = [f"{prefix} {inner[0].lstrip()}", *inner[1:]]
    else:
        body = _with_value(prefix, value, indent, f" {trailing[0]}" if trailing else "")
    return [*_comments([*leading, *trailing[1:]], indent), *body]


def _in_braces(collection: Collection, prefix: str) -> bool:
    """Whether a collection is laid out behind its key or dash, in braces."""
    return not collection.entries or (collection.flow and len(f"{prefix} {_flow(collection)}") <= WIDTH)


def _with_value(prefix: str, node: Node | None, indent: str, comment: str) -> list[str]:
    """The lines of a key or a dash with its value, a comment behind the first one."""
    if isinstance(node, Scalar | Collection) and node.anchor:
        prefix = f"{prefix} &{node.anchor}"
    if isinstance(node, Collection) and not _in_braces(node, prefix):
        listed = not node.mapping and ":" in prefix  # a list stands no deeper than its key
        return [f"{prefix}{comment}", *_block(node, indent if listed else indent + _STEP)]
    if isinstance(node, Scalar):
        return _scalar_lines(prefix, node, indent + _STEP, comment)
    return [f"{prefix} {_inline(node)}".rstrip() + comment]


def _scalar_lines(prefix: str, scalar: Scalar, indent: str, comment: str) -> list[str]:
    if scalar.style in ("|", ">") and scalar.value.strip():
        return _kept_block(prefix, scalar, indent, comment)
    line = f"{prefix} {_inline(scalar)}".rstrip()
    if "\n" in scalar.raw and len(line) > WIDTH and _foldable(scalar.value):
        words = textwrap.wrap(scalar.value, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
        return [f"{prefix} >-{comment}", *(indent + part for part in words)]
    return [line + comment]


def _foldable(value: str) -> bool:
    return value == value.strip() and "  " not in value and value.isprintable()


def _kept_block(prefix: str, scalar: Scalar, indent: str, comment: str) -> list[str]:
    """A block with its lines as they are, moved to their indentation."""
    header, _, rest = scalar.raw.partition("\n")
    marks = re.sub(r"[0-9]", "", header.partition("#")[0].strip())
    lines = rest.split("\n")
    while lines and not lines[-1].strip() and "+" not in marks:
        lines.pop()
    if "+" in marks and rest.endswith("\n"):
        lines.pop()  # what follows the last break
    first = next(line for line in lines if line.strip())
    deeper = _depth(next(line for line in scalar.value.split("\n") if line.strip()))
    taken = _depth(first) - deeper
    sign = f"{marks[0]}{len(_STEP)}{marks[1:]}" if deeper else marks
    body = [indent + line[taken:] if line.strip() else "" for line in lines]
    return [f"{prefix} {sign}{comment}", *body]


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _inline(node: Node | None, *, flow: bool = False, key: bool = False) -> str:
    if isinstance(node, Alias):
        return f"*{node.name}"
    if isinstance(node, Collection):
        return _flow(node)
    anchor = f"&{node.anchor} " if node and node.anchor and key else ""
    return anchor + _scalar(node, flow=flow) if node else ""


def _flow(collection: Collection) -> str:
    parts = []
    for entry in collection.entries:
        value = entry.value
        anchor = f"&{value.anchor} " if isinstance(value, Scalar | Collection) and value.anchor else ""
        text = anchor + _inline(value, flow=True)
        parts.append(f"{_inline(entry.key, flow=True, key=True)}: {text}".rstrip() if entry.key else text)
    inside = ", ".join(parts)
    return f"{{{inside}}}" if collection.mapping else f"[{inside}]"


def _scalar(scalar: Scalar, *, flow: bool) -> str:
    value, broken = scalar.value, "\n" in scalar.raw
    if scalar.tag is not None:
        return f"{scalar.tag.replace(_TAG, '!!')} {_quoted(value) if broken else scalar.raw}"
    if not scalar.style:
        return value if broken else scalar.raw
    if _is_plain(value, flow=flow):
        return value
    if scalar.style == "'" and value.isprintable() and not {'"', "\\"} & set(value):
        return f'"{value}"'
    return scalar.raw if scalar.style in ("'", '"') and not broken else _quoted(value)


def _is_plain(value: str, *, flow: bool) -> bool:
    """Whether text stays the same text without quotes, for any parser."""
    analysis = _emitter.analyze_scalar(value)
    allowed = analysis.allow_flow_plain if flow else analysis.allow_block_plain
    text = _resolver.resolve(yaml.ScalarNode, value, (True, False)) == f"{_TAG}str"
    return bool(allowed) and text and not analysis.multiline and not _DOUBTFUL.match(value)


def _quoted(value: str) -> str:
    return yaml.dump(value, Dumper=yaml.SafeDumper, default_style='"', width=1e9, allow_unicode=True).strip()
