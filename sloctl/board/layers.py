"""Layer times on the board: the slowest layers by name, the others in one sum, so that series stay bounded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from sloctl.board.layout import LAYER_NAME_WORDS, LAYER_NODES_WORDS, WORD, LayerPlace
from sloctl.board.memory import Memory, text_of

OTHER = "(other)"
KINDS = ("compute", "reformat", "copy")
_BETWEEN = "\x1f"  # nodes, as TensorRT separates them


@dataclass(frozen=True, slots=True)
class LayerSample:
    """One layer of one profile: its time in seconds, its kind (one of KINDS) and the model's nodes fused into it."""

    name: str
    seconds: float
    kind: str = KINDS[0]
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerReading:
    """A layer as summed over `count` profiles."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    count: int
    total: float


class LayerTable:
    """Layer times of one variant, one writer.

    The first profile decides which layers have a name of their own: the slowest ones, as many as there are slots
    but one. They keep it for as long as the engine is the same, so that their counters never fall; all the others
    are summed in the last slot, OTHER. An engine that lacks one of them is another one, whose table begins anew.
    """

    def __init__(self, memory: Memory, place: LayerPlace) -> None:
        self._memory = memory
        self._place = place
        self._index: dict[str, int] = {}

    def record(self, profile: Sequence[LayerSample]) -> int:
        """Adds one profile; returns how many of its layers were summed under OTHER."""
        if not self._index or not self._index.keys() <= {sample.name for sample in profile}:
            self._begin(profile)
        other, others, rest = self._place.slots - 1, 0, 0.0
        for sample in profile:
            index = self._index.get(sample.name, other)
            if index == other:
                others, rest = others + 1, rest + sample.seconds
            else:
                self._add(index, sample.seconds)
        if others:
            self._add(other, rest)
        return others

    def _add(self, index: int, seconds: float) -> None:
        at = self._place.slot(index) + LAYER_NAME_WORDS
        self._memory.ints[at] += 1
        self._memory.floats[at + 1] += seconds

    def _begin(self, profile: Sequence[LayerSample]) -> None:
        """Finds the names of the process before this one, unless they are another engine's; else chooses."""
        known = {reading.name: at for at, reading in enumerate(readings(self._memory.copy(), self._place))}
        known.pop(OTHER, None)
        if known and known.keys() <= {sample.name for sample in profile}:
            self._index = known
            return
        slowest = sorted(profile, key=lambda sample: -sample.seconds)[: self._place.slots - 1]
        names = {sample.name for sample in slowest}
        chosen = [sample for sample in profile if sample.name in names]
        self._clear()
        for at, sample in enumerate(chosen):
            self._name(at, sample)
        self._name(self._place.slots - 1, LayerSample(OTHER, 0.0))
        self._memory.ints[self._place.start] = len(chosen)
        self._index = {sample.name: at for at, sample in enumerate(chosen)}

    def _clear(self) -> None:
        self._memory.ints[self._place.start] = 0
        for index in range(self._place.slots):
            at = self._place.slot(index) + LAYER_NAME_WORDS
            self._memory.ints[at] = 0
            self._memory.floats[at + 1] = 0.0

    def _name(self, index: int, sample: LayerSample) -> None:
        at = self._place.slot(index)
        self._memory.write_text(at, LAYER_NAME_WORDS, sample.name)
        self._memory.ints[at + LAYER_NAME_WORDS + 2] = KINDS.index(sample.kind)
        self._memory.write_text(at + LAYER_NAME_WORDS + 3, LAYER_NODES_WORDS, _joined(sample.nodes))


def _joined(nodes: Sequence[str]) -> str:
    """As many whole node names as fit."""
    text = ""
    for node in nodes:
        longer = f"{text}{_BETWEEN}{node}" if text else node
        if len(longer.encode()) > LAYER_NODES_WORDS * WORD:
            break
        text = longer
    return text


def readings(data: bytes, place: LayerPlace) -> list[LayerReading]:
    """The table in a copy of the board: the named layers in execution order, then OTHER if anything was summed."""
    words = memoryview(data).cast("q")
    floats = memoryview(data).cast("d")
    named = min(words[place.start], place.slots - 1)
    found = []
    for index in [*range(named), *([place.slots - 1] if named else [])]:
        at = place.slot(index)
        counts = at + LAYER_NAME_WORDS
        nodes = text_of(data[(counts + 3) * WORD : (counts + 3 + LAYER_NODES_WORDS) * WORD])
        reading = LayerReading(
            name=text_of(data[at * WORD : counts * WORD]),
            kind=KINDS[words[counts + 2] % len(KINDS)],
            nodes=tuple(nodes.split(_BETWEEN)) if nodes else (),
            count=words[counts],
            total=floats[counts + 1],
        )
        if reading.count or index < named:
            found.append(reading)
    return found


def summed(tables: Sequence[list[LayerReading]]) -> list[LayerReading]:
    """Tables of one variant on several devices as one, in the order of the first; OTHER stays last."""
    if len(tables) == 1:
        return tables[0]
    found: dict[str, LayerReading] = {}
    for reading in chain.from_iterable(tables):
        known = found.get(reading.name, replace(reading, count=0, total=0.0))
        found[reading.name] = replace(known, count=known.count + reading.count, total=known.total + reading.total)
    return sorted(found.values(), key=lambda reading: reading.name == OTHER)
