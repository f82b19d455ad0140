# ruff: noqa: N802, N815  the names are those of CUDA and TensorRT
"""CUDA and TensorRT at their boundary: device memory is host memory, and a plan is a little arithmetic.

The fake keeps the books, so that tests can ask what was not freed and in which order things happened.
"""

import ctypes
import enum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNotReady = 600
    cudaErrorIllegalAddress = 700


class Cuda(ModuleType):
    """`cuda.bindings.runtime`, with one device."""

    cudaError_t = Status
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming, cudaEventBlockingSync = 2, 1
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        super().__init__("runtime")
        self.memory: dict[int, Any] = {}
        self.handles: set[int] = set()
        self.fails: dict[str, Status] = {}
        self.sticky = False
        self.next = 1000
        self.captured: dict[int, list[Any]] = {}  # stream or graph: the launches that it holds
        self.graph_launches = 0
        self.before_sync: Any = None  # called before the host waits for an event

    def _do(self, name: str, *values: Any) -> tuple[Any, ...]:
        if self.sticky:
            return (Status.cudaErrorIllegalAddress, *(None for _ in values))
        return (self.fails.get(name, Status.cudaSuccess), *values)

    def _allocate(self, name: str, size: int) -> tuple[Any, ...]:
        status, _ = self._do(name, None)
        if status:
            return status, None
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = block
        return status, ctypes.addressof(block)

    def _handle(self) -> int:
        self.next += 1
        self.handles.add(self.next)
        return self.next

    def cudaGetErrorString(self, status: Status) -> tuple[Status, bytes]:
        return Status.cudaSuccess, status.name.encode()

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return self._do("GetDeviceCount", 1)

    def cudaSetDevice(self, index: int) -> tuple[Any, ...]:
        return self._do("SetDevice") if index == 0 else (Status.cudaErrorMemoryAllocation,)

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, ...]:
        uuid = SimpleNamespace(bytes=bytes(range(16)))
        return Status.cudaSuccess, SimpleNamespace(name=b"Fake H1\0", major=9, minor=0, uuid=uuid)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self._do("DriverGetVersion", 13010)

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        used = sum(len(block) for block in self.memory.values())
        return self._do("MemGetInfo", (1 << 30) - used, 1 << 30)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("Malloc", size)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate("MallocHost", size)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        del self.memory[address]
        return self._do("Free")

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        assert stream in self.handles
        ctypes.memmove(to, source, size)
        return self._do("MemcpyAsync")

    def cudaDeviceGetStreamPriorityRange(self) -> tuple[Any, ...]:
        return self._do("DeviceGetStreamPriorityRange", 0, -5)

    def cudaStreamCreateWithPriority(self, flags: int, priority: int) -> tuple[Any, ...]:
        return self._do("StreamCreateWithPriority", self._handle())

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Any, ...]:
        status = self._do("StreamBeginCapture")
        if not status[0]:
            self.captured[stream] = []
        return status

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        graph = self._handle()
        self.captured[graph] = self.captured.pop(stream)
        return self._do("StreamEndCapture", graph)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        made = self._do("GraphInstantiate", None)
        if not made[0]:
            made = (made[0], self._handle())
            self.captured[made[1]] = self.captured[graph]
        return made

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        assert stream in self.handles
        self.graph_launches += 1
        for launch in self.captured[graph]:
            launch()
        return self._do("GraphLaunch")

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        return self._do("StreamSynchronize")

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        return self._do("EventCreateWithFlags", self._handle())

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[Any, ...]:
        assert {stream, event} <= self.handles
        return self._do("StreamWaitEvent")

    def cudaEventSynchronize(self, event: int) -> tuple[Any, ...]:
        if self.before_sync is not None:
            self.before_sync()
        return self._do("EventSynchronize")

    def cudaEventRecord(self, event: int, stream: int) -> tuple[Any, ...]:
        return self._do("EventRecord")

    def cudaEventQuery(self, event: int) -> tuple[Any, ...]:
        return self._do("EventQuery")

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[Any, ...]:
        return self._do("EventElapsedTime", 0.25)

    def cudaEventDestroy(self, handle: int) -> tuple[Any, ...]:
        self.handles.remove(handle)
        return self._do("EventDestroy")

    cudaStreamDestroy = cudaGraphDestroy = cudaGraphExecDestroy = cudaEventDestroy


class Context:
    """`y = x @ WEIGHTS` on the addresses it was given."""

    def __init__(self, cuda: Cuda, profiles: list[tuple[int, int, int]], *, first: bool) -> None:
        self.cuda = cuda
        self.first = first  # or else all profiles are taken
        self.profiles, self.profile = profiles, 0
        self.addresses: dict[str, int] = {}
        self.rows = 0
        self.profiler: Any = None
        self.enqueue_emits_profile = True
        self.launched = False

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        assert stream in self.cuda.handles
        if not self.first:
            raise RuntimeError("Error in set optimization profile async.")
        self.profile = index
        return index < len(self.profiles)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.profiles[self.profile]
        if not low <= shape[0] <= high:
            return False
        self.rows = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.rows, 4) if name == "x" else (self.rows, 3)

    def execute_async_v3(self, stream: int) -> bool:
        if stream not in self.cuda.handles:
            return False
        addresses, rows = dict(self.addresses), self.rows
        if stream in self.cuda.captured:
            self.cuda.captured[stream].append(lambda: self.compute(addresses, rows))
        else:
            self.compute(addresses, rows)
            self.launched = True
        return True

    def compute(self, addresses: dict[str, int], rows: int) -> None:
        x = _floats(addresses["x"], rows * 4).reshape(-1, 4)
        _floats(addresses["y"], rows * 3)[:] = (x @ WEIGHTS).ravel()

    def report_to_profiler(self) -> bool:
        if self.profiler is None or self.enqueue_emits_profile or not self.launched:
            return False
        self.profiler.report_layer_time("conv + relu", 0.5)
        self.profiler.report_layer_time("gemm", 0.25)
        return True


def _floats(address: int, count: int) -> Any:
    return np.frombuffer((ctypes.c_char * (count * 4)).from_address(address), np.float32)


class Engine:
    num_io_tensors = 2

    def __init__(self, trt: "TensorRT") -> None:
        self.trt = trt
        self.contexts = 0

    def get_tensor_name(self, index: int) -> str:
        return ("x", "y")[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.trt.kind)

    def get_tensor_mode(self, name: str) -> int:
        return self.trt.TensorIOMode.INPUT if name == "x" else self.trt.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 4) if name == "x" else (-1, 3)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(rows, 4) for rows in self.trt.profiles[profile]]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.trt.profiles)

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda _: self.trt.information)

    def create_execution_context(self) -> Context:
        self.contexts += 1
        return Context(self.trt.cuda, self.trt.profiles, first=self.contexts <= self.trt.most_contexts)


class TensorRT(ModuleType):
    """`tensorrt_lean_bindings`."""

    LayerInformationFormat = SimpleNamespace(JSON="json")

    TensorIOMode = SimpleNamespace(INPUT=1, OUTPUT=2)

    class ILogger:
        ERROR, INTERNAL_ERROR, WARNING = "ERROR", "INTERNAL_ERROR", "WARNING"

    class IProfiler:
        pass

    def __init__(self, cuda: Cuda, version: str = "10.16.1.11") -> None:
        super().__init__("tensorrt_lean_bindings")
        self.__version__ = version
        self.cuda = cuda
        self.kind = "FLOAT"
        self.loaded: list[str] = []
        self.deserialised = 0
        self.information = '{"Layers": ["conv + relu", "gemm"]}'
        self.profiles = [(1, 4, 8)]  # least, best and most rows
        self.most_contexts = 1  # of an engine, as a plan of 8.6 with one profile

    def Runtime(self, logger: Any) -> "Runtime":
        return Runtime(self, logger)


class Runtime:
    def __init__(self, trt: TensorRT, logger: Any) -> None:
        self.trt, self.logger = trt, logger
        self.engine_host_code_allowed = False

    def load_runtime(self, path: str) -> "Runtime":
        assert self.engine_host_code_allowed
        self.trt.loaded.append(path)
        return self

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if not plan.startswith(b"ftrt"):
            self.logger.log("ERROR", "magic tag does not match")
            return None
        self.trt.deserialised += 1
        return Engine(self.trt)
