"""The engine interface: what hosts a model on a device, whichever runtime stands behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.generic]


class EngineError(Exception):
    """An engine could not be created, or a run on it failed. The message is for people."""


class DeviceLostError(EngineError):
    """The device is lost to this process (a sticky CUDA error): every later call fails, only a new process helps."""


@dataclass(frozen=True, slots=True)
class DeviceArray:
    """A tensor that lies in the memory of a CUDA device at `pointer`, dense and row-major; `owner` keeps it alive."""

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    owner: object = None

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


Inputs = Mapping[str, Tensor | DeviceArray]
"""A request's inputs by name, each of shape `[rows, …]`."""


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


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """What is known of a layer: the model's own `nodes` that were fused into it, and whether it computes.

    `reformat` layers change a tensor's layout or type, `copy` layers move it; both are the runtime's own.
    """

    name: str
    kind: Literal["compute", "reformat", "copy"] = "compute"
    nodes: tuple[str, ...] = ()


class Flight(Protocol):
    """A batch that was handed over. `result` must be called, once, whether `wait` said that it is done or not."""

    def wait(self, seconds: float) -> bool:
        """Whether it is done, waiting at most so long and without giving the thread away. Raises EngineError."""

    def result(self) -> Execution:
        """Waits for it to be done. Raises EngineError."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A flight that was over when it began, of a runtime that computes in the call."""

    execution: Execution

    def wait(self, seconds: float) -> bool:  # noqa: ARG002  the protocol's
        """It is done."""
        return True

    def result(self) -> Execution:
        """What it gave."""
        return self.execution


class Engine(Protocol):
    """A loaded, warm-able variant of a model.

    As many threads as `concurrency` says may call `infer` at a time; `check` and `profile` may run beside them, one
    call of each at a time.
    """

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

    @property
    def concurrency(self) -> int:
        """How many batches it can have in hand at once."""

    @property
    def layers(self) -> Mapping[str, LayerInfo]:
        """What the runtime tells of its layers, by name; empty where it tells nothing."""

    def infer(self, *requests: Inputs) -> Execution:
        """Runs the rows of all requests, in order, as one batch. Raises EngineError."""

    def begin(self, *requests: Inputs) -> Flight:
        """Hands a batch over without waiting for it, where the runtime lets one. Raises EngineError."""

    def check(self, inputs: Inputs) -> Execution:
        """One small inference beside the load: on a context or at least buffers of its own. Raises EngineError."""

    def profile(self, *requests: Inputs) -> Sequence[LayerTime]:
        """Times the layers of one batch, off the hot path, in execution order. Raises EngineError."""

    def close(self) -> None:
        """Frees everything that it holds. Safe to call twice."""
