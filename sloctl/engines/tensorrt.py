"""TensorRT: plans of 8.6 to 11, on the full, the lean or the RTX package, whichever is installed.

Built on the calls that all of them share (tensors by name, `execute_async_v3`). A plan is executable code:
load none that you did not build.
"""

import importlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from sloctl.engines import cuda
from sloctl.engines.base import EngineError, Execution, LayerTime, Tensor, TensorSpec

MODULES = ("tensorrt", "tensorrt_lean", "tensorrt_lean_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings")
LIBRARY_FOLDER = "SLOCTL_TENSORRT_LIB_DIR"
# TensorRT's data types by name; the module is not at hand when this is read.
_DATATYPES = {
    "FLOAT": "FP32", "HALF": "FP16", "INT8": "INT8", "INT32": "INT32", "INT64": "INT64", "BOOL": "BOOL",
    "UINT8": "UINT8",
}  # fmt: skip
_NUMPY = {
    "FP32": np.float32, "FP16": np.float16, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
    "UINT8": np.uint8,
}  # fmt: skip


@cache
def module() -> Any:
    """The first TensorRT module that can be imported. Raises EngineError that names all that were tried."""
    tried = []
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            tried.append(f"{name} ({error})")
    raise EngineError(f"no TensorRT is installed; tried {'; '.join(tried)}; install sloctl[tensorrt-lean]")


def runtime_name() -> str:
    """Module and version that were taken."""
    return f"{module().__name__} {module().__version__}"


@cache
def _logger() -> Any:
    trt = module()

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
        """Keeps the last error, since TensorRT returns None where others raise."""

        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.last = message

    return Logger()


@cache
def _profiler_class() -> type[Any]:
    trt = module()

    class Profiler(trt.IProfiler):  # type: ignore[misc,name-defined]
        """Collects one launch's layer times."""

        def __init__(self) -> None:
            super().__init__()
            self.times: list[LayerTime] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.append(LayerTime(layer_name, ms / 1e3))

    return Profiler


@cache
def _runtime(lean: str | None, folder: str) -> Any:
    """One runtime for a process and library: a plan of an older version brings or names its own."""
    runtime = module().Runtime(_logger())
    if lean is None:
        return runtime
    runtime.engine_host_code_allowed = True
    places = [Path(place) for place in (os.environ.get(LIBRARY_FOLDER, ""), folder) if place]
    library = next((place / lean for place in places if (place / lean).is_file()), None)
    if library is None:
        looked = " and ".join(map(str, places))
        raise EngineError(f"the plan needs {lean}, which is in neither of {looked}; set {LIBRARY_FOLDER} to its folder")
    loaded = runtime.load_runtime(str(library))
    if loaded is None:
        raise EngineError(f"{library}: TensorRT cannot load it: {_logger().last}")
    return loaded


class _Context:
    """An execution context with its stream and buffers for batches up to `rows`."""

    def __init__(self, engine: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], rows: int) -> None:
        self.trt = engine.create_execution_context()
        if self.trt is None:
            raise EngineError(f"TensorRT cannot create an execution context: {_logger().last}")
        self.stream = cuda.call("StreamCreate")
        self.timer = cuda.Timer()
        self.inputs, self.outputs = inputs, outputs
        self._rows = 0
        self.buffers: dict[str, cuda.Buffer] = {}
        for spec in (*inputs, *outputs):
            shape = (rows, *spec.shape[1:])
            buffer = cuda.Buffer(shape, np.dtype(_NUMPY[spec.datatype]))
            self.buffers[spec.name] = buffer
            self.trt.set_tensor_address(spec.name, buffer.device)

    def launch(self, inputs: Mapping[str, Tensor]) -> int:
        """Copies in, enqueues and copies out, all on the stream; returns the rows."""
        rows = len(next(iter(inputs.values())))
        for spec in self.inputs:
            value, buffer = inputs[spec.name], self.buffers[spec.name]
            np.copyto(buffer.host[:rows], value)
            if rows != self._rows and not self.trt.set_input_shape(spec.name, value.shape):
                raise EngineError(f"input {spec.name}: shape {list(value.shape)} fits no optimisation profile")
            _copy(buffer.device, buffer.host, value.nbytes, self.stream, to_device=True)
        self._rows = rows
        self.timer.start(self.stream)
        if not self.trt.execute_async_v3(int(self.stream)):
            raise EngineError(f"TensorRT refused the launch: {_logger().last}")
        self.timer.stop(self.stream)
        for spec in self.outputs:
            buffer = self.buffers[spec.name]
            part = buffer.host[:rows]
            _copy(buffer.device, part, part.nbytes, self.stream, to_device=False)
        return rows

    def close(self) -> None:
        """Frees in the order that TensorRT wants: the stream outlives the context."""
        self.trt = None
        cuda.call("StreamSynchronize", self.stream)
        for buffer in self.buffers.values():
            buffer.free()
        self.timer.close()
        cuda.call("StreamDestroy", self.stream)


def _copy(device: int, host: Tensor, size: int, stream: Any, *, to_device: bool) -> None:
    kinds = cuda._runtime().cudaMemcpyKind  # noqa: SLF001  the module beside this one
    if to_device:
        cuda.call("MemcpyAsync", device, host.ctypes.data, size, kinds.cudaMemcpyHostToDevice, stream)
    else:
        cuda.call("MemcpyAsync", host.ctypes.data, device, size, kinds.cudaMemcpyDeviceToHost, stream)


class TensorRTEngine:
    """A plan with one hot context, and another for layer profiles, made when the first is asked for."""

    def __init__(self, path: Path, *, device: str, max_batch: int, lean_runtime: str | None = None) -> None:
        """Deserialises the plan and creates its context. Raises EngineError."""
        self._device = device
        self._lean = lean_runtime
        self._path = path
        cuda.select(device)
        free = cuda.free_memory()
        self._engine = self._deserialise()
        self._inputs, self._outputs = self._tensors()
        limit = min(self._engine.get_tensor_profile_shape(spec.name, 0)[2][0] for spec in self._inputs)
        self._max_batch = min(max_batch, int(limit))
        self._context: _Context | None = _Context(self._engine, self._inputs, self._outputs, self._max_batch)
        self._profiled: tuple[Any, _Context] | None = None
        self._memory = max(free - cuda.free_memory(), 0)

    def _deserialise(self) -> Any:
        runtime = _runtime(self._lean, str(self._path.parent))
        engine = runtime.deserialize_cuda_engine(self._path.read_bytes())
        if engine is None:
            raise EngineError(f"{self._path}: TensorRT cannot deserialise it: {_logger().last}")
        return engine

    def _tensors(self) -> tuple[list[TensorSpec], list[TensorSpec]]:
        trt, engine = module(), self._engine
        found: tuple[list[TensorSpec], list[TensorSpec]] = ([], [])
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            kind = engine.get_tensor_dtype(name).name
            if kind not in _DATATYPES:
                raise EngineError(f"{self._path}: tensor {name} is {kind}, which cannot be served")
            spec = TensorSpec(name, _DATATYPES[kind], tuple(engine.get_tensor_shape(name)))
            found[0 if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else 1].append(spec)
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

    def infer(self, inputs: Mapping[str, Tensor]) -> Execution:
        """Runs one batch; the time on the device is between events around the launch. Raises EngineError."""
        context = self._context
        if context is None:
            raise EngineError("the engine is closed")
        cuda.call("SetDevice", cuda.ordinal(self._device))  # the calling thread may be a new one
        begin = perf_counter()
        rows = context.launch(inputs)
        enqueued = perf_counter()
        cuda.call("StreamSynchronize", context.stream)
        outputs: dict[str, Tensor] = {
            spec.name: context.buffers[spec.name].host[:rows].copy() for spec in self._outputs
        }
        return Execution(outputs, context.timer.seconds(), enqueued - begin)

    def profile(self, inputs: Mapping[str, Tensor]) -> Sequence[LayerTime]:
        """Times the layers on a context that serves nobody. Raises EngineError."""
        cuda.call("SetDevice", cuda.ordinal(self._device))
        _, context = self._profiled = self._profiled or self._profiled_context()
        times: list[LayerTime] = context.trt.profiler.times
        for _ in range(2):  # the first launch after a change of shape pays for it
            context.launch(inputs)
            cuda.call("StreamSynchronize", context.stream)
            times.clear()
            context.trt.report_to_profiler()
        return list(times)

    def _profiled_context(self) -> tuple[Any, _Context]:
        # A plan of 8.6 gives each optimisation profile to one context only, so it is deserialised once more.
        engine = self._deserialise()
        context = _Context(engine, self._inputs, self._outputs, self._max_batch)
        context.trt.profiler = _profiler_class()()
        context.trt.enqueue_emits_profile = False
        return engine, context

    def close(self) -> None:
        """Frees contexts, buffers and engine."""
        contexts = [self._context] + ([self._profiled[1]] if self._profiled else [])
        self._context, self._profiled = None, None
        for context in contexts:
            if context is not None:
                context.close()
        self._engine = None
