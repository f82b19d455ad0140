"""The board as its users hold it: cells by metric and labels, control words, health, layers, status."""

import secrets
from bisect import bisect_left
from collections.abc import Sequence

from sloctl.board import layout as _layout
from sloctl.board.control_word import ControlCell, ControlWord
from sloctl.board.health import HealthCell
from sloctl.board.layers import LayerTable
from sloctl.board.layout import MAGIC, bounds_of, is_float
from sloctl.board.memory import Memory
from sloctl.board.snapshot import Snapshot
from sloctl.board.status import PlaneStatus
from sloctl.board.topology import Topology
from sloctl.telemetry.catalogue import Metric


class BoardMismatchError(Exception):
    """The memory handed over was laid out for another topology or by another version."""


class Counter:
    """A cumulative count with one writer."""

    __slots__ = ("_cell", "_words")

    def __init__(self, words: "memoryview[int] | memoryview[float]", cell: int) -> None:
        self._words = words
        self._cell = cell

    def inc(self, by: float = 1) -> None:
        """Adds `by` (an integer, but for counters of seconds)."""
        self._words[self._cell] += by  # type: ignore[call-overload]


class Gauge:
    """A value that is set, with one writer."""

    __slots__ = ("_cell", "_words")

    def __init__(self, words: "memoryview[float]", cell: int) -> None:
        self._words = words
        self._cell = cell

    def set(self, value: float) -> None:
        """Replaces the value."""
        self._words[self._cell] = value


class Histogram:
    """Counts by bound and their sum, with one writer. An observation costs about 0.2 µs."""

    __slots__ = ("_bounds", "_cell", "_counts", "_sum", "_sums")

    def __init__(self, memory: Memory, cell: int, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = memory.ints
        self._sums = memory.floats
        self._cell = cell
        self._sum = cell + len(bounds) + 1

    def observe(self, value: float) -> None:
        """Counts a value into the first bound that is not below it (Prometheus' `le`)."""
        self._counts[self._cell + bisect_left(self._bounds, value)] += 1
        self._sums[self._sum] += value


class Board:
    """The shared memory with its layout. Every word has exactly one writer; readers take snapshots."""

    def __init__(self, fd: int, topology: Topology) -> None:
        self.fd = fd
        self.topology = topology
        self.layout = _layout.make(topology)
        self.memory = Memory(fd, self.layout.size)

    @classmethod
    def create(cls, topology: Topology) -> "Board":
        """New, zeroed memory; every share is admitted and the first variant serves."""
        board = cls(Memory.create(_layout.make(topology).size), topology)
        ints = board.memory.ints
        ints[1] = board.layout.fingerprint
        ints[2] = secrets.randbits(62)
        for model in topology.models:
            classes, variants = len(topology.priorities), len(model.variants)
            word = ControlWord(admit=(1.0,) * classes, canary=(0.0,) * variants, tiers=(-1,) * classes)
            board.control(model.name).write(word)
        ints[0] = MAGIC
        return board

    @classmethod
    def attach(cls, fd: int, topology: Topology) -> "Board":
        """The board behind an inherited descriptor. Raises BoardMismatchError."""
        board = cls(fd, topology)
        if board.memory.ints[0] != MAGIC or board.memory.ints[1] != board.layout.fingerprint:
            raise BoardMismatchError("the board was laid out for another topology; restart the daemon")
        return board

    @property
    def identity(self) -> int:
        """A random number that tells this board from one before a restart of the whole daemon."""
        return self.memory.ints[2]

    @property
    def data_status(self) -> PlaneStatus:
        """Status of the data plane."""
        return PlaneStatus(self.memory, self.layout.data_status)

    @property
    def control_status(self) -> PlaneStatus:
        """Status of the control plane."""
        return PlaneStatus(self.memory, self.layout.control_status)

    def counter(self, metric: Metric, *labels: str) -> Counter:
        """The counter with these label values, in the order of the metric's declaration."""
        words = self.memory.floats if is_float(metric) else self.memory.ints
        return Counter(words, self.layout.cells[metric.name, labels])

    def gauge(self, metric: Metric, *labels: str) -> Gauge:
        """The gauge with these label values."""
        return Gauge(self.memory.floats, self.layout.cells[metric.name, labels])

    def value(self, metric: Metric, *labels: str) -> float:
        """A gauge's value at this moment."""
        return self.memory.floats[self.layout.cells[metric.name, labels]]

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """The histogram with these label values."""
        cell = self.layout.cells[metric.name, labels]
        return Histogram(self.memory, cell, bounds_of(metric, self.topology))

    def control(self, model: str) -> ControlCell:
        """A model's control word."""
        return ControlCell(self.memory, self.layout.control[model])

    def health(self, model: str, variant: str, level: str) -> HealthCell:
        """One health level of a variant."""
        return HealthCell(self.memory, self.layout.health[model, variant, level])

    def layers(self, model: str, variant: str) -> LayerTable:
        """A variant's layer table, for its writer."""
        return LayerTable(self.memory, self.layout.layers[model, variant])

    def snapshot(self) -> Snapshot:
        """A copy of everything."""
        return Snapshot(self.layout, self.memory.copy())

    def close(self) -> None:
        """Unmaps the memory (the descriptor stays open)."""
        self.memory.close()
