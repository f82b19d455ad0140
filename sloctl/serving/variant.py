"""A variant as the data plane holds it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from sloctl.admission.breaker import Breaker
from sloctl.board import Board, LayerSample
from sloctl.config.daemon import BreakerConfig
from sloctl.engines.base import Engine, Inputs, TensorSpec
from sloctl.serving.breaker_cells import BreakerCells
from sloctl.serving.cost import Cost
from sloctl.serving.encode import Encoder
from sloctl.serving.faults import FaultSwitch
from sloctl.serving.health import VariantHealth
from sloctl.serving.sizes import Sizes
from sloctl.serving.statistics import VariantCells
from sloctl.serving.worker import EngineThread
from sloctl.telemetry.catalogue import VARIANT_BREAKER

_BETWEEN_COPIES = 1.0  # seconds
VERSION = "1"  # a model's variants are one version to clients; which one served is a response parameter


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is there once a variant is warm: its engine, the probe of it, and what was measured.

    `probe` makes one checked dummy inference and raises EngineError; `sample` is its input, for a first profile.
    """

    engine: Engine
    cost: Cost
    probe: Callable[[], None]
    sample: Inputs
    accuracy: float | None
    digest: str = ""


class Variant:
    """Name, cells and health of a variant, from the start; engine, cost and encoder once it is loaded."""

    __slots__ = (
        "_copied",
        "_ended",
        "answers",
        "breaker",
        "breaker_cells",
        "cells",
        "concurrency",
        "cost",
        "device",
        "encoder",
        "failure",
        "failures",
        "health",
        "hung_since",
        "last_failure",
        "last_requests",
        "last_success",
        "loaded",
        "model",
        "name",
        "profile",
        "sizes",
        "switch",
        "thread",
    )

    def __init__(self, board: Board, model: str, name: str, thread: EngineThread, breaker: BreakerConfig) -> None:
        self.model = model
        self.name = name
        self.thread = thread
        self.device = ""  # of its own; variants with the same share its time
        self.cells = VariantCells(board, model, name)
        self.health = VariantHealth(board, model, name)
        self.switch = FaultSwitch()
        self.breaker_cells = BreakerCells(board, VARIANT_BREAKER, model, name)
        self.breaker = Breaker(breaker, self.breaker_cells.enter)
        self.breaker_cells.enter(self.breaker.state)
        self.answers = True  # whether its last health probe passed
        self.loaded: Loaded | None = None
        self.concurrency = 1
        self.cost = Cost({1: 0.0})
        self.sizes = Sizes(self.cost, 1)
        self.encoder = Encoder(model, VERSION, name, [])
        self.hung_since: float | None = None
        self.last_success = 0.0
        self.last_failure = 0.0
        self.failure = ""  # of the last batch that failed
        self.failures = 0  # batches in a row
        self.profile: tuple[float, Sequence[LayerSample]] | None = None  # the last one, and when it was taken
        self.last_requests: Sequence[Inputs] = ()  # of a late batch, for a profile; memory of our own
        self._copied = -_BETWEEN_COPIES
        self._ended = 0.0  # when a batch came back

    def failed(self, message: str, now: float) -> None:
        """A batch of it failed."""
        self.failures += 1
        self.failure, self.last_failure = message, now

    def take(self, loaded: Loaded) -> None:
        """The variant is warm from now on."""
        self.loaded = loaded
        self.concurrency = loaded.engine.concurrency
        self.thread.grow(self.concurrency)
        self.cost = loaded.cost
        self.encoder = Encoder(self.model, VERSION, self.name, loaded.engine.outputs)
        self.cells.capacity.set(loaded.cost.capacity)
        self.cells.memory.set(loaded.engine.memory_bytes)
        if loaded.accuracy is not None:
            self.cells.accuracy.set(loaded.accuracy)

    def timed(self, rows: int, seconds: float, now: float) -> None:
        """Learns from the time of a batch that has come back now.

        Told on the board are those that followed upon another, no later than a batch lasts: after a pause, caches and
        clocks have to come up again, and that says nothing of what the variant carries.
        """
        self.cost.observe(rows, seconds)
        measured = self.cost.measured_for(rows)
        if now - seconds - self._ended <= measured:
            self.cells.batch_seconds.inc(seconds)
            self.cells.batch_measured.inc(measured)
        self._ended = now

    def remember(self, requests: Sequence[Inputs], lent: bool, now: float) -> None:
        """Keeps the requests of a batch for a profile.

        What is lent by clients would stay mapped for as long as it is kept: of such a batch the smallest request is
        copied, at most once a second, and none that lies in a GPU's memory.
        """
        if not lent:
            self.last_requests = requests
        elif now - self._copied >= _BETWEEN_COPIES:
            self._copied = now
            smallest = min(requests, key=lambda inputs: sum([value.nbytes for value in inputs.values()]))
            copies = {name: value.copy() for name, value in smallest.items() if isinstance(value, np.ndarray)}
            if len(copies) == len(smallest):
                self.last_requests = [copies]

    @property
    def up(self) -> bool:
        """Whether batches can be given to it: its context stands and no run is stuck in it."""
        return self.loaded is not None and self.hung_since is None

    @property
    def steady(self) -> bool:
        """Whether it is up and its breaker lets all calls pass."""
        return self.loaded is not None and self.hung_since is None and self.breaker.steady

    @property
    def ready(self) -> bool:
        """Whether all five levels of health stand."""
        return self.up and self.health.ready

    @property
    def known(self) -> bool:
        """Whether its accuracy is known, should it have one."""
        return self.loaded is not None

    @property
    def accuracy(self) -> float:
        """As measured; NaN where it was not, or it is not loaded."""
        found = self.loaded.accuracy if self.loaded is not None else None
        return nan if found is None else found

    @property
    def pace(self) -> float:
        """Seconds of a row at its best batch."""
        return self.cost.seconds_per_row

    @property
    def on_gpu(self) -> bool:
        """Whether its engine runs on a GPU, and so takes inputs in its memory."""
        return self.loaded is not None and self.loaded.engine.runtime.startswith("tensorrt")

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """The engine's inputs, none before it is loaded."""
        return self.loaded.engine.inputs if self.loaded else ()

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """The engine's outputs, none before it is loaded."""
        return self.loaded.engine.outputs if self.loaded else ()
