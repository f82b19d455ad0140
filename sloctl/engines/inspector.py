"""What a TensorRT layer is made of: from the engine inspector's JSON, or from its name alone.

TensorRT fuses a model's nodes into layers of its own and adds some that only move data. With detailed verbosity the
inspector names the ONNX nodes of each layer in `Metadata`. Without it, and for plans that cannot be inspected, the
layer's name tells: `conv + add + relu`, `PWN(add, PWN(relu))`, `Reformatting CopyNode for Input Tensor 0 to fc`.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Literal

from sloctl.engines.base import LayerInfo

_MOST_BYTES = 64 << 20
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_POINTWISE = re.compile(r"PWN\(|\)")
_REGION = re.compile(r"^\{ForeignNode\[(.*)\]\}$")
_REFORMATS = ("Reformat", "Reformatting")
_COPIES = ("Copy", "MemCopy", "DeviceCopy")


def parse(text: str) -> dict[str, LayerInfo]:
    """The layers of the inspector's JSON, by name; empty where it holds none. Raises ValueError if it is not JSON."""
    if len(text) > _MOST_BYTES:
        raise ValueError(f"the inspector's answer is larger than {_MOST_BYTES} bytes")
    found = json.loads(text)
    layers = found.get("Layers") if isinstance(found, dict) else None
    if not isinstance(layers, list):
        return {}
    infos = (_of_entry(entry) for entry in layers)
    return {info.name: info for info in infos if info.name}


def from_names(names: Iterable[str]) -> dict[str, LayerInfo]:
    """The same as far as names alone tell."""
    return {name: of_name(name) for name in names}


def _of_entry(entry: Any) -> LayerInfo:
    if not isinstance(entry, dict):  # with names only, entries are names
        return of_name(str(entry))
    name = str(entry.get("Name", ""))
    guessed = of_name(name)
    nodes = tuple(dict.fromkeys(_NODE.findall(str(entry.get("Metadata", "")))))
    kind = _kind(str(entry.get("LayerType", ""))) or guessed.kind
    return LayerInfo(name, kind, (nodes or guessed.nodes) if kind == "compute" else ())


def _kind(layer_type: str) -> Literal["reformat", "copy"] | None:
    if layer_type in _REFORMATS:
        return "reformat"
    return "copy" if layer_type in _COPIES else None


def of_name(name: str) -> LayerInfo:
    """What the name of a fused layer tells."""
    if name.startswith("Reformatting CopyNode"):
        return LayerInfo(name, "reformat")
    if name.endswith(" copy"):
        return LayerInfo(name, "copy")
    if region := _REGION.match(name):
        return LayerInfo(name, nodes=tuple(part for part in region[1].split("...") if part))
    parts = (part.strip() for part in re.split(r" \+ |, ", _POINTWISE.sub("", name)))
    return LayerInfo(name, nodes=tuple(dict.fromkeys(part for part in parts if part)))
