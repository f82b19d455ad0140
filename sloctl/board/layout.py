"""Where each thing lies on the board, computed alike by every process from the topology and the catalogue.

Everything is an aligned 8-byte word (a signed integer or a double), so that a single store is never torn on
the processors that sloctl runs on; texts are runs of words holding UTF-8, padded with zeros.
"""

import hashlib
import json
from dataclasses import dataclass, field
from itertools import product

from sloctl.board.topology import ModelTopology, Topology
from sloctl.telemetry.catalogue import (
    BATCH_BOUNDS,
    BATCH_SIZE,
    BREAKER_KINDS,
    BREAKER_STATES,
    DATA_METRICS,
    HEALTH_LEVELS,
    OUTCOMES,
    RESTART_REASONS,
    Kind,
    Metric,
)

WORD = 8
MESSAGE_WORDS = 32  # 256 bytes of text for a health message
LAYER_NAME_WORDS = 20  # 160 bytes for a layer's name
LAYER_NODES_WORDS = 32  # 256 bytes for the model's nodes in it
LAYER_WORDS = LAYER_NAME_WORDS + 3 + LAYER_NODES_WORDS
HEADER_WORDS = 8  # magic, layout, identity, supervisor's pid, spare
# A status: pid, phase, heartbeat, started, connections; restarts by reason; a record of how the last process ended.
RESTARTS_WORD = 5
STATUS_WORDS = RESTARTS_WORD + len(RESTART_REASONS) + 1 + MESSAGE_WORDS
MAGIC = 0x534C4F43544C3031  # 'SLOCTL01'

Key = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class ControlPlace:
    """Words of a model's control word: a sequence number, seven scalars, a variant and a share a class, and a weight a
    variant.
    """

    start: int
    priorities: int
    variants: int

    @property
    def words(self) -> int:
        """How many words it takes."""
        return 8 + 2 * self.priorities + self.variants


@dataclass(frozen=True, slots=True)
class HealthPlace:
    """Words of one health level of one variant: sequence, state, last success, then the message."""

    start: int


@dataclass(frozen=True, slots=True)
class LayerPlace:
    """Words of a variant's layer table: how many have names, then name, count, sum, kind and nodes for each."""

    start: int
    slots: int

    def slot(self, index: int) -> int:
        """First word of the slot."""
        return self.start + 1 + index * LAYER_WORDS


def bounds_of(metric: Metric, topology: Topology) -> tuple[float, ...]:
    """Upper bounds of a histogram metric on the board."""
    return BATCH_BOUNDS if metric is BATCH_SIZE else topology.bounds


def is_float(metric: Metric) -> bool:
    """Whether a scalar cell of the metric holds a double (else a signed integer)."""
    return metric.kind is Kind.GAUGE or metric.unit == "seconds"


@dataclass(slots=True)
class Layout:
    """Offsets, in words, of all that is on the board."""

    topology: Topology
    size: int = 0
    data_status: int = 0
    control_status: int = 0
    control: dict[str, ControlPlace] = field(default_factory=dict)
    health: dict[tuple[str, str, str], HealthPlace] = field(default_factory=dict)
    layers: dict[tuple[str, str], LayerPlace] = field(default_factory=dict)
    cells: dict[Key, int] = field(default_factory=dict)
    fingerprint: int = 0

    def take(self, words: int) -> int:
        """Reserves `words` and returns where they start."""
        start = self.size
        self.size += words
        return start


def labelsets(metric: Metric, topology: Topology, model: ModelTopology) -> list[tuple[str, ...]]:
    """Label values of every series that a data-plane metric has for a model."""
    domains = {
        "model": (model.name,),
        "variant": model.variants,
        "priority": topology.priorities,
        "tenant": topology.tenants,
        "outcome": OUTCOMES,
        "state": BREAKER_STATES,
        "kind": BREAKER_KINDS,
        "level": HEALTH_LEVELS,
    }
    return list(product(*(domains[label] for label in metric.labels)))


def _cell_words(metric: Metric, topology: Topology) -> int:
    # A histogram: one count a bound, one for what lies above, and the sum.
    return len(bounds_of(metric, topology)) + 2 if metric.kind is Kind.HISTOGRAM else 1


def make(topology: Topology) -> Layout:
    """Lays the board out for a topology."""
    layout = Layout(topology)
    layout.take(HEADER_WORDS)
    layout.data_status = layout.take(STATUS_WORDS)
    layout.control_status = layout.take(STATUS_WORDS)
    for model in topology.models:
        place = ControlPlace(layout.size, len(topology.priorities), len(model.variants))
        layout.take(place.words)
        layout.control[model.name] = place
        for variant, level in product(model.variants, HEALTH_LEVELS):
            layout.health[model.name, variant, level] = HealthPlace(layout.take(3 + MESSAGE_WORDS))
        for variant in model.variants:
            slots = topology.layers
            words = 1 + slots * LAYER_WORDS
            layout.layers[model.name, variant] = LayerPlace(layout.take(words), slots)
        for metric in DATA_METRICS:
            if metric.kind is not Kind.SUMMARY:  # layers have their own table; health, its own cells
                for labels in labelsets(metric, topology, model):
                    layout.cells[metric.name, labels] = layout.take(_cell_words(metric, topology))
    described = json.dumps([topology.as_dict(), layout.size, sorted(map(str, layout.cells))])
    layout.fingerprint = int.from_bytes(hashlib.sha256(described.encode()).digest()[:7])
    return layout
