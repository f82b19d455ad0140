"""TensorRT: plans of 8.6 to 11, on the full, the lean or the RTX package, whichever is installed.

Built on the calls that all of them share (tensors by name, `execute_async_v3`). A plan is executable code:
load none that you did not build.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

from sloctl.engines import cuda
from sloctl.engines.base import EngineError, Execution, Inputs, LayerInfo, LayerTime, Tensor, TensorSpec
from sloctl.engines.batch import joined
from sloctl.engines.datatypes import NUMPY, TENSORRT
from sloctl.engines.tensorrt_runtime import check_version, module, new_profiler, reason, runtime, runtime_name

__all__ = ["TensorRTEngine", "check_version", "runtime_name"]

_PROFILE_RUNS = 2  # the first launch after a change of shape pays for it


class _Context:
    """An execution context on optimisation profile 0, with a stream and buffers for its largest shapes."""

    def __init__(self, engine: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], rows: int) -> None:
        self.inputs, self.outputs, self.rows = inputs, outputs, rows
        self.dtypes = {spec.name: NUMPY[spec.datatype] for spec in (*inputs, *outputs)}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._buffers: dict[str, cuda.Buffer] = {}
        with ExitStack() as stack:
            self.stream = cuda.new_stream()
            stack.callback(cuda.call, "StreamDestroy", self.stream)
            self.timer = cuda.Timer()
            stack.callback(self.timer.close)
            self.trt: Any = engine.create_execution_context()
            if self.trt is None:
                raise EngineError(f"TensorRT cannot create an execution context: {reason()}")
            stack.callback(self._release)
            largest = {spec.name: engine.get_tensor_profile_shape(spec.name, 0)[2] for spec in inputs}
            for spec in inputs:
                self._shape(spec.name, (rows, *tuple(largest[spec.name])[1:]))
            for spec in (*inputs, *outputs):
                buffer = self._buffer(spec)
                stack.callback(buffer.free)
            self._closing = stack.pop_all()

    def _buffer(self, spec: TensorSpec) -> cuda.Buffer:
        shape = tuple(self.trt.get_tensor_shape(spec.name))
        if min(shape, default=1) < 0:
            raise EngineError(f"tensor {spec.name}: its shape {list(shape)} depends on data, which is not supported")
        buffer = cuda.Buffer((prod(shape),), self.dtypes[spec.name])
        self._buffers[spec.name] = buffer
        if not self.trt.set_tensor_address(spec.name, buffer.device):
            raise EngineError(f"tensor {spec.name}: TensorRT takes no address for it: {reason()}")
        return buffer

    def _shape(self, name: str, shape: tuple[int, ...]) -> None:
        if self._shapes.get(name) != shape:
            self._shapes.clear()  # those of the outputs change with it
            if not self.trt.set_input_shape(name, shape):
                raise EngineError(f"input {name}: shape {list(shape)} fits no optimisation profile: {reason()}")
            self._shapes[name] = shape

    def _check(self, inputs: Mapping[str, Tensor]) -> None:
        rows = None
        for spec in self.inputs:
            value = inputs.get(spec.name)
            if value is None:
                raise EngineError(f"there is no input {spec.name}")
            if value.dtype != self.dtypes[spec.name]:
                raise EngineError(f"input {spec.name} is {value.dtype}; expected {spec.datatype}")
            fits = len(value.shape) == len(spec.shape) and all(
                size == wanted or wanted < 0 for size, wanted in zip(value.shape[1:], spec.shape[1:], strict=True)
            )
            if not fits:
                raise EngineError(f"input {spec.name} has shape {list(value.shape)}; expected {list(spec.shape)}")
            if not 0 < len(value) <= self.rows or len(value) != (rows := rows or len(value)):
                raise EngineError(f"input {spec.name} has {len(value)} rows; expected 1 to {self.rows}, in all inputs")

    def launch(self, inputs: Mapping[str, Tensor]) -> None:
        """Copies in, enqueues and copies out, all on the stream. Raises EngineError."""
        self._check(inputs)
        for spec in self.inputs:
            value, buffer = inputs[spec.name], self._buffers[spec.name]
            self._shape(spec.name, value.shape)
            buffer.host[: value.size].reshape(value.shape)[...] = value
            cuda.copy_in(buffer, value.nbytes, self.stream)
        self.timer.start(self.stream)
        if not self.trt.execute_async_v3(int(self.stream)):
            raise EngineError(f"TensorRT refused the launch: {reason()}")
        self.timer.stop(self.stream)
        for spec in self.outputs:
            shape = self._shapes.get(spec.name)
            if shape is None:
                shape = self._shapes[spec.name] = tuple(self.trt.get_tensor_shape(spec.name))
            cuda.copy_out(self._buffers[spec.name], prod(shape) * self.dtypes[spec.name].itemsize, self.stream)

    def results(self) -> dict[str, Tensor]:
        """Copies of the last launch's outputs, once it is done."""
        cuda.call("StreamSynchronize", self.stream)
        shapes = {spec.name: self._shapes[spec.name] for spec in self.outputs}
        return {name: self._buffers[name].host[: prod(shape)].reshape(shape).copy() for name, shape in shapes.items()}

    def _release(self) -> None:
        self.trt = None

    def close(self) -> None:
        """Frees everything; the stream outlives the context, as TensorRT wants it. Raises EngineError."""
        with self._closing:
            cuda.call("StreamSynchronize", self.stream)


class TensorRTEngine:
    """A plan with one hot context, and another for layer profiles, made when the first is asked for."""

    def __init__(self, path: Path, *, device: str, max_batch: int, lean_runtime: str | None = None) -> None:
        """Deserialises the plan and creates its context. Raises EngineError."""
        self._device = cuda.select(device)
        self._lean = lean_runtime
        self._path = path
        free = cuda.free_memory()
        self._engine = self._deserialise()
        self._inputs, self._outputs = self._tensors()
        limit = min(self._engine.get_tensor_profile_shape(spec.name, 0)[2][0] for spec in self._inputs)
        self._max_batch = min(max_batch, int(limit))
        self._context: _Context | None = _Context(self._engine, self._inputs, self._outputs, self._max_batch)
        self._profiled: tuple[Any, _Context] | None = None
        self._memory = max(free - cuda.free_memory(), 0)

    def _deserialise(self) -> Any:
        engine = runtime(self._lean, self._path.parent).deserialize_cuda_engine(self._path.read_bytes())
        if engine is None:
            raise EngineError(f"{self._path}: TensorRT cannot deserialise it: {reason()}")
        return engine

    def _tensors(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        trt, engine = module(), self._engine
        found: tuple[list[TensorSpec], list[TensorSpec]] = ([], [])
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            kind = engine.get_tensor_dtype(name).name
            if TENSORRT.get(kind) not in NUMPY:
                raise EngineError(f"{self._path}: tensor {name} is {kind}, which cannot be served")
            spec = TensorSpec(name, TENSORRT[kind], tuple(engine.get_tensor_shape(name)))
            found[0 if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else 1].append(spec)
        if not all(spec.shape for spec in found[0]) or not found[0]:
            raise EngineError(f"{self._path}: every input needs a batch as its first dimension")
        return found

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Inputs in the plan's order."""
        return self._inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """Outputs in the plan's order."""
        return self._outputs

    @property
    def max_batch(self) -> int:
        """What was asked for, bounded by the optimisation profile."""
        return self._max_batch

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return runtime_name()

    @property
    def memory_bytes(self) -> int:
        """Device memory that loading took."""
        return self._memory

    @property
    def concurrency(self) -> int:
        """One: there is one hot context."""
        return 1

    @property
    def layers(self) -> Mapping[str, LayerInfo]:
        """Nothing yet."""
        return {}

    def check(self, inputs: Inputs) -> Execution:
        """Runs on the hot context. Raises EngineError."""
        return self.infer(inputs)

    def infer(self, *requests: Inputs) -> Execution:
        """Runs one batch; the time on the device is between events around the launch. Raises EngineError."""
        context = self._context
        if context is None:
            raise EngineError("the engine is closed")
        cuda.call("SetDevice", self._device)  # the calling thread may be a new one
        begin = perf_counter()
        context.launch(joined(requests))
        enqueued = perf_counter()
        outputs = context.results()
        return Execution(outputs, context.timer.seconds(), enqueued - begin)

    def profile(self, *requests: Inputs) -> Sequence[LayerTime]:
        """Times the layers on a context that serves nobody. Raises EngineError."""
        if self._context is None:
            raise EngineError("the engine is closed")
        cuda.call("SetDevice", self._device)
        _, context = self._profiled = self._profiled or self._profiled_context()
        times: list[LayerTime] = context.trt.profiler.times
        for _ in range(_PROFILE_RUNS):
            context.launch(joined(requests))
            cuda.call("StreamSynchronize", context.stream)
            times.clear()
            if not context.trt.report_to_profiler():
                raise EngineError(f"TensorRT reports no layer times: {reason()}")
        return list(times)

    def _profiled_context(self) -> tuple[Any, _Context]:
        # A plan of 8.6 gives each optimisation profile to one context only, so it is deserialised once more.
        engine = self._deserialise()
        context = _Context(engine, self._inputs, self._outputs, self._max_batch)
        context.trt.profiler = new_profiler()
        context.trt.enqueue_emits_profile = False
        return engine, context

    def close(self) -> None:
        """Frees contexts, buffers and engine. After a sticky CUDA error nothing can be freed; that is let go."""
        contexts = [self._context, self._profiled[1] if self._profiled else None]
        self._context, self._profiled = None, None
        for context in contexts:
            if context is not None:
                _let_go(context)
        self._engine = None


def _let_go(context: _Context) -> None:
    try:
        context.close()
    except EngineError:
        return
