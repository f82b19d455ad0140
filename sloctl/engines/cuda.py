"""The few CUDA calls that hosting needs, over cuda-bindings, with errors for people."""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sloctl.engines.base import EngineError


@cache
def _runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise EngineError(f"the CUDA bindings are missing ({error}); install sloctl[tensorrt-lean]") from None
    return runtime


def call(name: str, *arguments: Any) -> Any:
    """Calls `cuda<name>`; returns its result (one value, a tuple of several, or None). Raises EngineError."""
    runtime = _runtime()
    status, *results = getattr(runtime, f"cuda{name}")(*arguments)
    if status != runtime.cudaError_t.cudaSuccess:
        text = runtime.cudaGetErrorString(status)[1]
        reason = text.decode() if isinstance(text, bytes) else str(text)
        raise EngineError(f"CUDA: {name} failed: {reason} ({status.name})")
    return results[0] if len(results) == 1 else tuple(results) or None


def ordinal(device: str) -> int:
    """The ordinal of `cuda:N`, or of the GPU of that UUID. Raises EngineError."""
    if device.startswith("cuda:") and device[5:].isdigit():
        return int(device[5:])
    count = call("GetDeviceCount")
    for index in range(count):
        raw = bytes(call("GetDeviceProperties", index).uuid.bytes)[:16].hex()
        if device.removeprefix("GPU-").replace("-", "") == raw:
            return index
    raise EngineError(f"no CUDA device {device!r} among {count}; use cuda:N or a GPU's UUID")


def select(device: str) -> int:
    """Makes the device current on this thread, and returns its ordinal."""
    index = ordinal(device)
    call("SetDevice", index)
    return index


def device_name(device: str) -> str:
    """What the device is called, once it has answered: after a sticky error every call fails. Raises EngineError."""
    index = select(device)
    free_memory()
    name = call("GetDeviceProperties", index).name
    return name.decode().rstrip("\0") if isinstance(name, bytes) else str(name)


def compute_capability(device: str) -> str:
    """Such as `9.0`."""
    properties = call("GetDeviceProperties", ordinal(device))
    return f"{properties.major}.{properties.minor}"


def driver_version() -> str:
    """The CUDA version that the driver speaks, such as `13.0`."""
    version = int(call("DriverGetVersion"))
    return f"{version // 1000}.{version % 1000 // 10}"


def free_memory() -> int:
    """Free bytes of the current device."""
    return int(call("MemGetInfo")[0])


class Buffer:
    """A pinned host array and a device buffer of the same size."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        count = int(np.prod(shape))
        self.bytes = max(count * dtype.itemsize, 1)
        self.device = int(call("Malloc", self.bytes))
        try:
            self._pinned = int(call("MallocHost", self.bytes))
        except EngineError:
            call("Free", self.device)
            raise
        raw = (ctypes.c_char * self.bytes).from_address(self._pinned)
        self.host: NDArray[np.generic] = np.frombuffer(memoryview(raw), dtype=dtype, count=count).reshape(shape)

    def free(self) -> None:
        """Gives both back."""
        if self.device:
            call("Free", self.device)
            call("FreeHost", self._pinned)
            self.device = 0


def copy_in(buffer: Buffer, size: int, stream: Any) -> None:
    """Copies the first `size` bytes to the device, in the stream's order."""
    kind = _runtime().cudaMemcpyKind.cudaMemcpyHostToDevice
    call("MemcpyAsync", buffer.device, buffer.host.ctypes.data, size, kind, stream)


def copy_out(buffer: Buffer, size: int, stream: Any) -> None:
    """Copies the first `size` bytes from the device, in the stream's order."""
    kind = _runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
    call("MemcpyAsync", buffer.host.ctypes.data, buffer.device, size, kind, stream)


def new_stream() -> Any:
    """A stream that does not wait for the default one."""
    return call("StreamCreateWithFlags", _runtime().cudaStreamNonBlocking)


class Timer:
    """Two events on a stream."""

    def __init__(self) -> None:
        self._start, self._end = call("EventCreate"), call("EventCreate")

    def start(self, stream: Any) -> None:
        """Marks the beginning on the stream."""
        call("EventRecord", self._start, stream)

    def stop(self, stream: Any) -> None:
        """Marks the end on the stream."""
        call("EventRecord", self._end, stream)

    def seconds(self) -> float:
        """Device time between the marks; the stream must be synchronised."""
        return float(call("EventElapsedTime", self._start, self._end)) / 1e3

    def close(self) -> None:
        """Destroys the events."""
        call("EventDestroy", self._start)
        call("EventDestroy", self._end)
