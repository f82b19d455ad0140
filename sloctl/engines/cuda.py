"""The few CUDA calls that hosting needs, over cuda-bindings, with errors for people."""

import ctypes
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sloctl.engines.base import DeviceArray, DeviceLostError, EngineError, Tensor


@cache
def _runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise EngineError(f"the CUDA bindings are missing ({error}); install sloctl[tensorrt-lean]") from None
    return runtime


# Errors that spoil a process's context for good, by their names in cudaError_t (CUDA Runtime API, "Error handling").
_STICKY = frozenset(
    f"cudaError{name}"
    for name in (
        "IllegalAddress",
        "LaunchTimeout",
        "Assert",
        "HardwareStackError",
        "IllegalInstruction",
        "MisalignedAddress",
        "InvalidAddressSpace",
        "InvalidPc",
        "LaunchFailure",
        "ECCUncorrectable",
        "NvlinkUncorrectable",
        "ContextIsDestroyed",
        "TensorMemoryLeak",
        "ExternalDevice",
        "Contained",
    )
)


def call(name: str, *arguments: Any) -> Any:
    """Calls `cuda<name>`; returns its result (one value, a tuple of several, or None).

    Raises EngineError, or DeviceLostError after which every call fails.
    """
    runtime = _runtime()
    status, *results = getattr(runtime, f"cuda{name}")(*arguments)
    if status != runtime.cudaError_t.cudaSuccess:
        text = runtime.cudaGetErrorString(status)[1]
        reason = text.decode() if isinstance(text, bytes) else str(text)
        kind = DeviceLostError if status.name in _STICKY else EngineError
        raise kind(f"CUDA: {name} failed: {reason} ({status.name})")
    return results[0] if len(results) == 1 else tuple(results) or None


def ordinal(device: str) -> int:
    """The ordinal of `cuda:N`, or of the GPU of that UUID. Raises EngineError."""
    if device.startswith("cuda:") and device[5:].isdigit():
        return int(device[5:])
    count = call("GetDeviceCount")
    for index in range(count):
        if device.removeprefix("GPU-").replace("-", "") == _uuid(index):
            return index
    raise EngineError(f"no CUDA device {device!r} among {count}; use cuda:N or a GPU's UUID")


def _uuid(index: int) -> str:
    return bytes(call("GetDeviceProperties", index).uuid.bytes)[:16].hex()


def uuid(device: str) -> str:
    """Such as `GPU-5d2…`, as NVML writes it. Raises EngineError."""
    return f"GPU-{UUID(_uuid(ordinal(device)))}"


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


class Pinned:
    """Host memory that the device reads and writes directly, as a flat array."""

    def __init__(self, count: int, dtype: np.dtype[np.generic]) -> None:
        size = max(count * dtype.itemsize, 1)
        self._address = int(call("MallocHost", size))
        raw = (ctypes.c_char * size).from_address(self._address)
        self.array: NDArray[np.generic] = np.frombuffer(memoryview(raw), dtype=dtype, count=count)

    def free(self) -> None:
        """Gives it back."""
        call("FreeHost", self._address)


def copy_in(to: int, source: Tensor | DeviceArray, stream: Any) -> None:
    """Copies a dense tensor to the device in the stream's order.

    Straight from where it lies: the driver stages memory that is not pinned at least as fast as a copy of ours to
    pinned memory would. `source` must live until the stream has passed the copy.
    """
    kinds = _runtime().cudaMemcpyKind
    if isinstance(source, DeviceArray):
        call("MemcpyAsync", to, source.pointer, source.nbytes, kinds.cudaMemcpyDeviceToDevice, stream)
    else:
        call("MemcpyAsync", to, source.ctypes.data, source.nbytes, kinds.cudaMemcpyHostToDevice, stream)


def copy_out(to: Pinned, source: int, size: int, stream: Any) -> None:
    """Copies `size` bytes from the device, in the stream's order."""
    kind = _runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
    call("MemcpyAsync", to.array.ctypes.data, source, size, kind, stream)


def new_stream(urgent: bool = True) -> Any:
    """A stream that does not wait for the default one, of the highest priority or of the lowest."""
    least, greatest = call("DeviceGetStreamPriorityRange")
    priority = greatest if urgent else least
    return call("StreamCreateWithPriority", _runtime().cudaStreamNonBlocking, priority)


def new_event(*, timed: bool = False, blocking: bool = False) -> Any:
    """An event: `timed` to measure between two, `blocking` to be waited for without keeping a core busy."""
    runtime = _runtime()
    flags = 0 if timed else runtime.cudaEventDisableTiming
    return call("EventCreateWithFlags", flags | (runtime.cudaEventBlockingSync if blocking else 0))


def follow(stream: Any, event: Any) -> None:
    """What comes next on the stream waits for the event."""
    call("StreamWaitEvent", stream, event, 0)


def passed(event: Any) -> bool:
    """Whether the event has passed. Raises EngineError."""
    runtime = _runtime()
    status, *_ = runtime.cudaEventQuery(event)
    if status == runtime.cudaError_t.cudaErrorNotReady:
        return False
    if status != runtime.cudaError_t.cudaSuccess:
        call("EventQuery", event)  # raises it with its name
    return True


def seconds_between(start: Any, end: Any) -> float:
    """Device time between two timed events that have passed."""
    return float(call("EventElapsedTime", start, end)) / 1e3


def capture(stream: Any, work: Callable[[], object]) -> Any:
    """An executable graph of what `work` puts on the stream. Raises EngineError where it cannot be captured."""
    call("StreamBeginCapture", stream, _runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
    try:
        work()
    except BaseException:
        with suppress(EngineError):
            call("StreamEndCapture", stream)  # a stream left in capture mode could not be used any more
        raise
    graph = call("StreamEndCapture", stream)
    try:
        return call("GraphInstantiate", graph, 0)
    finally:
        call("GraphDestroy", graph)
