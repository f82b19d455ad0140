"""Execution contexts, and the slots in which batches are in hand on them.

A context runs one batch at a time, in the order of its stream. Each of its slots has buffers of its own, so that
while one batch is computed the next is copied in and enqueued: the device does not wait for Python. A launch is
a CUDA graph once a shape has come twice, which costs the host some 3 µs in place of 150 (docs/performance.md) and
takes the interpreter's lock back once instead of at every call.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import prod
from time import perf_counter
from typing import Any

import numpy as np

from sloctl.engines import cuda
from sloctl.engines.base import DeviceArray, DeviceLostError, EngineError, Execution, Inputs, Tensor, TensorSpec
from sloctl.engines.datatypes import NUMPY
from sloctl.engines.tensorrt_runtime import reason

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]

_SMALL = 64 << 10  # bytes; copying less than this takes no longer than handing over from one stream to another
_LONG = 2e-3  # seconds of a run that is worth letting a core go for while it lasts
_MOST_GRAPHS = 16  # of a slot


@dataclass(frozen=True, slots=True)
class Profile:
    """An optimisation profile: what shapes each input may have (`least`, `best`, `most`, in the inputs' order)."""

    index: int
    least: Shapes
    best: Shapes
    most: Shapes

    def fits(self, shapes: Shapes) -> bool:
        """Whether inputs of these shapes may run on it."""
        bounds = zip(shapes, self.least, self.most, strict=True)
        return all(
            len(shape) == len(low) and all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))
            for shape, low, high in bounds
        )

    @property
    def width(self) -> int:
        """Elements of its largest inputs."""
        return sum(map(prod, self.most))

    def distance(self, shapes: Shapes) -> tuple[int, int]:
        """How far it is from these shapes, to choose the nearest of those that fit.

        First how far the shapes it was tuned for are, in elements; then how wide it is.
        """
        return abs(sum(map(prod, self.best)) - sum(map(prod, shapes))), self.width


class Tensors:
    """A plan's inputs and outputs, and the check that a batch fits them."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.dtypes = {spec.name: NUMPY[spec.datatype] for spec in (*inputs, *outputs)}

    def shapes(self, requests: Sequence[Inputs], most_rows: int) -> Shapes:
        """The shapes of the inputs when the requests are one batch. Raises EngineError where they do not fit."""
        first, rows, found = requests[0], -1, []
        for spec in self.inputs:
            tail = self._part(spec, first).shape[1:]
            count = 0
            for request in requests:
                part = self._part(spec, request)
                if part.shape[1:] != tail:
                    raise EngineError(f"input {spec.name}: shapes {list(part.shape)} and {list(tail)} in one batch")
                count += part.shape[0]
            if not 0 < count <= most_rows or rows not in (-1, count):
                raise EngineError(f"input {spec.name} has {count} rows; expected 1 to {most_rows}, in all inputs")
            rows = count
            found.append((count, *tail))
        return tuple(found)

    def _part(self, spec: TensorSpec, request: Inputs) -> Tensor | DeviceArray:
        value = request.get(spec.name)
        if value is None:
            raise EngineError(f"there is no input {spec.name}")
        if value.dtype != self.dtypes[spec.name]:
            raise EngineError(f"input {spec.name} is {value.dtype}; expected {spec.datatype}")
        fits = len(value.shape) == len(spec.shape) and all(
            size == wanted or wanted < 0 for size, wanted in zip(value.shape[1:], spec.shape[1:], strict=True)
        )
        if not fits:
            raise EngineError(f"input {spec.name} has shape {list(value.shape)}; expected {list(spec.shape)}")
        return value


class Context:
    """An execution context on one optimisation profile, with its stream. `lock` guards its shapes and its stream."""

    def __init__(self, engine: Any, tensors: Tensors, profile: Profile, number: int, urgent: bool = True) -> None:
        """Raises EngineError where the plan gives no further context on that profile."""
        self.tensors, self.profile, self.number = tensors, profile, number
        self.lock = threading.Lock()
        self.busy = 0  # slots in use
        self._shapes: Shapes = ()
        self._results: dict[str, Shape] = {}
        self._engine = engine  # must outlive the context
        with ExitStack() as stack:
            self.stream = cuda.new_stream(urgent)
            stack.callback(cuda.call, "StreamDestroy", self.stream)
            self.trt: Any = engine.create_execution_context()
            if self.trt is None:
                raise EngineError(f"TensorRT cannot create an execution context: {reason()}")
            stack.callback(self._release)
            if engine.num_optimization_profiles > 1 or number > 0:
                self._choose_profile()
            self._closing = stack.pop_all()

    def _choose_profile(self) -> None:
        try:
            taken = self.trt.set_optimization_profile_async(self.profile.index, int(self.stream))
        except RuntimeError:  # what the bindings make of a refusal
            taken = False
        if not taken:
            raise EngineError(f"optimisation profile {self.profile.index} cannot be had: {reason()}")
        cuda.call("StreamSynchronize", self.stream)

    def shape(self, shapes: Shapes) -> Mapping[str, Shape]:
        """Sets the inputs' shapes; returns the outputs'. Raises EngineError."""
        if shapes != self._shapes:
            self._shapes = ()
            for spec, shape in zip(self.tensors.inputs, shapes, strict=True):
                if not self.trt.set_input_shape(spec.name, shape):
                    raise EngineError(f"input {spec.name}: TensorRT refuses shape {list(shape)}: {reason()}")
            self._results = {spec.name: self._result(spec.name) for spec in self.tensors.outputs}
            self._shapes = shapes
        return self._results

    def _result(self, name: str) -> Shape:
        shape = tuple(self.trt.get_tensor_shape(name))
        if min(shape, default=1) < 0:
            raise EngineError(f"tensor {name}: its shape {list(shape)} depends on data, which is not supported")
        return shape

    def enqueue(self, addresses: Mapping[str, int]) -> None:
        """Launches with these device addresses. Raises EngineError."""
        for name, address in addresses.items():
            if not self.trt.set_tensor_address(name, address):
                raise EngineError(f"tensor {name}: TensorRT takes no address for it: {reason()}")
        if not self.trt.execute_async_v3(int(self.stream)):
            raise EngineError(f"TensorRT refused the launch: {reason()}")

    def _release(self) -> None:
        self.trt = None

    def close(self) -> None:
        """Frees it; the stream outlives the context, as TensorRT wants it. Raises EngineError."""
        with self._closing:
            cuda.call("StreamSynchronize", self.stream)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A shape that a slot has run: its outputs' shapes, and the graph of it once it was captured."""

    results: Mapping[str, Shape]
    graph: Any = None
    capture: bool = True  # False where capturing failed


class Slot:
    """Room for one batch in hand on a context: device buffers, pinned results, events, and graphs by shape."""

    def __init__(self, context: Context, rows: int) -> None:
        """Makes room for the profile's largest shapes, of at most so many rows. Raises EngineError."""
        self.context = context
        self.busy = False
        self._seen: dict[Shapes, _Seen] = {}
        self._seconds = 0.0
        self._held: Sequence[Inputs] = ()
        self._expected: Mapping[str, Shape] = {}
        self._awaited: Any = None
        self._handed_over = 0.0
        with ExitStack() as stack:
            self._closing = stack
            self._stream = self._own("Stream", cuda.new_stream())
            self._copied, self._done = (self._own("Event", cuda.new_event()) for _ in range(2))
            self._done_quietly = self._own("Event", cuda.new_event(blocking=True))
            self._start, self._end = (self._own("Event", cuda.new_event(timed=True)) for _ in range(2))
            most = tuple((min(rows, shape[0]), *shape[1:]) for shape in context.profile.most)
            shapes = dict(zip((spec.name for spec in context.tensors.inputs), most, strict=True))
            with context.lock:
                shapes |= context.shape(most)
            self._addresses = {name: self._allocate(name, shape) for name, shape in shapes.items()}
            self._results = {spec.name: self._pin(spec.name, shapes[spec.name]) for spec in context.tensors.outputs}
            self._closing = stack.pop_all()

    def _own(self, kind: str, handle: Any) -> Any:
        self._closing.callback(cuda.call, f"{kind}Destroy", handle)
        return handle

    def _bytes(self, name: str, shape: Shape) -> int:
        return prod(shape) * self.context.tensors.dtypes[name].itemsize

    def _allocate(self, name: str, shape: Shape) -> int:
        address = int(cuda.call("Malloc", max(self._bytes(name, shape), 1)))
        self._closing.callback(cuda.call, "Free", address)
        return address

    def _pin(self, name: str, shape: Shape) -> cuda.Pinned:
        pinned = cuda.Pinned(prod(shape), self.context.tensors.dtypes[name])
        self._closing.callback(pinned.free)
        return pinned

    def has_run(self, shapes: Shapes) -> bool:
        """Whether a batch of these shapes has run here."""
        return shapes in self._seen

    def run(self, requests: Sequence[Inputs], shapes: Shapes, graphs: bool = True) -> Execution:
        """Runs one batch to its end. Raises EngineError."""
        self.start(requests, shapes, graphs)
        return self.finish()

    def start(self, requests: Sequence[Inputs], shapes: Shapes, graphs: bool = True) -> None:
        """Hands one batch over. Raises EngineError, and then nothing of it is left behind."""
        begin = perf_counter()
        self._held = requests  # the device may read them until the batch is done
        with self._cleared_on_failure():
            self._expected, self._awaited = self._launch(self._sources(requests), shapes, graphs)
        self._handed_over = perf_counter() - begin

    def done(self) -> bool:
        """Whether the batch is done. Raises EngineError."""
        return cuda.passed(self._awaited)

    def finish(self) -> Execution:
        """Waits for the batch. Raises EngineError."""
        with self._cleared_on_failure():
            cuda.call("EventSynchronize", self._awaited)
            self._seconds = cuda.seconds_between(self._start, self._end)
        self._held = ()
        shapes = self._expected.items()
        outputs = {name: self._results[name].array[: prod(s)].reshape(s).copy() for name, s in shapes}
        return Execution(outputs, self._seconds, self._handed_over, self.context.number)

    @contextmanager
    def _cleared_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with suppress(EngineError):  # nothing may go on reading the requests or writing the buffers
                cuda.call("StreamSynchronize", self._stream)
                cuda.call("StreamSynchronize", self.context.stream)
            self._held = ()
            raise

    def _sources(self, requests: Sequence[Inputs]) -> list[tuple[int, Tensor | DeviceArray]]:
        """Where each part of each input goes on the device: the requests' rows, one after another."""
        found: list[tuple[int, Tensor | DeviceArray]] = []
        for spec in self.context.tensors.inputs:
            to = self._addresses[spec.name]
            for request in requests:
                value = request[spec.name]
                part = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
                found.append((to, part))
                to += part.nbytes
        return found

    def _launch(
        self, sources: list[tuple[int, Tensor | DeviceArray]], shapes: Shapes, graphs: bool
    ) -> tuple[Mapping[str, Shape], Any]:
        """Copies in, launches and copies out; returns the outputs' shapes and the event that ends it."""
        context, compute = self.context, self.context.stream
        small = sum(part.nbytes for _, part in sources) <= _SMALL
        if not small:  # copied while the batch before is computed
            self._copy_in(sources, self._stream)
            cuda.call("EventRecord", self._copied, self._stream)
        with context.lock:
            if small:
                self._copy_in(sources, compute)
            else:
                cuda.follow(compute, self._copied)
            cuda.call("EventRecord", self._start, compute)
            results = self._compute(shapes, graphs)
            cuda.call("EventRecord", self._end, compute)
            return results, self._copy_out(results)

    def _copy_in(self, sources: list[tuple[int, Tensor | DeviceArray]], stream: Any) -> None:
        for to, part in sources:
            cuda.copy_in(to, part, stream)

    def _copy_out(self, results: Mapping[str, Shape]) -> Any:
        sizes = {name: self._bytes(name, shape) for name, shape in results.items()}
        stream = self.context.stream
        if sum(sizes.values()) > _SMALL:
            stream = self._stream
            cuda.follow(stream, self._end)
        for name, size in sizes.items():
            cuda.copy_out(self._results[name], self._addresses[name], size, stream)
        done = self._done_quietly if self._seconds > _LONG else self._done
        cuda.call("EventRecord", done, stream)
        return done

    def _compute(self, shapes: Shapes, graphs: bool) -> Mapping[str, Shape]:
        seen = self._seen.get(shapes)
        if seen is not None and graphs and seen.graph is None and seen.capture:
            seen = self._seen[shapes] = self._captured(shapes, seen)
        if seen is not None and graphs and seen.graph is not None:
            cuda.call("GraphLaunch", seen.graph, self.context.stream)
            return seen.results
        results = self.context.shape(shapes)
        self.context.enqueue(self._addresses)
        if seen is None and len(self._seen) < _MOST_GRAPHS:
            self._seen[shapes] = _Seen(results)
        return results

    def _captured(self, shapes: Shapes, seen: _Seen) -> _Seen:
        # A shape must have run once before it can be captured.
        self.context.shape(shapes)
        try:
            graph = cuda.capture(self.context.stream, lambda: self.context.enqueue(self._addresses))
        except DeviceLostError:
            raise
        except EngineError:
            return _Seen(seen.results, capture=False)
        return _Seen(seen.results, graph)

    def close(self) -> None:
        """Frees it, whose last batch must be done. Raises EngineError."""
        with self._closing:
            for seen in self._seen.values():
                if seen.graph is not None:
                    self._closing.callback(cuda.call, "GraphExecDestroy", seen.graph)
            self._seen.clear()
