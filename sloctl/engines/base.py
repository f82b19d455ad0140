"""The engine interface: what hosts a model on a device, whichever runtime stands behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.generic]


class EngineError(Exception):
    """An engine could not be created, or a run on it failed. The message is for people."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A model's input or output: V2 `datatype` (FP32, INT64, …) and `shape` with -1 for a free dimension.

    The first dimension is the batch.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Execution:
    """The result of one batch: `outputs` by name, and where its time went, in seconds.

    `engine_seconds` is device time (CUDA events; the run call on a CPU), `enqueue_seconds` the host's time to
    hand the work over; `context` numbers the execution context that ran it.
    """

    outputs: dict[str, Tensor]
    engine_seconds: float
    enqueue_seconds: float
    context: int = 0


@dataclass(frozen=True, slots=True)
class LayerTime:
    """One layer of a profiled run, after the runtime's own fusion, in execution order."""

    name: str
    seconds: float


class Engine(Protocol):
    """A loaded, warm-able variant of a model. One thread calls `infer` at a time; `profile` may run beside it."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Inputs in the model's order."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """Outputs in the model's order."""

    @property
    def max_batch(self) -> int:
        """The largest batch that `infer` takes."""

    @property
    def runtime(self) -> str:
        """Name and version of the runtime, such as `onnxruntime 1.31.1`."""

    @property
    def memory_bytes(self) -> int:
        """Memory that this engine takes on its device, as well as it can be told."""

    def infer(self, inputs: Mapping[str, Tensor]) -> Execution:
        """Runs one batch (every input of shape `[batch, …]`). Raises EngineError."""

    def profile(self, inputs: Mapping[str, Tensor]) -> Sequence[LayerTime]:
        """Times the layers of one batch, off the hot path, in execution order. Raises EngineError."""

    def close(self) -> None:
        """Frees everything that it holds. Safe to call twice."""
