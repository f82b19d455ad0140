"""CUDA errors on demand, for tests on a GPU: kernels that do what a broken model's kernels do.

They are written in PTX, which the driver compiles, so that nothing else has to be installed.
"""

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any

from sloctl.engines import cuda
from sloctl.engines.base import EngineError

_PTX = b"""
.version 6.4
.target sm_75
.address_size 64
.visible .entry wild() {
    .reg .u64 %a; .reg .u32 %v;
    mov.u64 %a, 0; mov.u32 %v, 1;
    st.global.u32 [%a], %v;
    ret;
}
.visible .entry spin(.param .u64 flag) {
    .reg .u64 %f; .reg .u32 %v; .reg .pred %p;
    ld.param.u64 %f, [flag];
wait:
    ld.volatile.global.u32 %v, [%f];
    setp.eq.u32 %p, %v, 0;
    @%p bra wait;
    ret;
}
\0"""
_THREADS, _BLOCKS_PER_SM = 256, 8  # 2048 threads: no GPU's multiprocessor holds more
_MAPPED = 2  # CU_MEMHOSTALLOC_DEVICEMAP
_POLL = 0.01


class CudaFaults:
    """Breaks one device for this process."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._busy = False

    def lose(self) -> None:
        """A kernel writes to address 0: this and every later CUDA call of this process fails. Raises EngineError."""
        with self._lock:
            self._launch("wild", 1, 1)
            cuda.call("DeviceSynchronize")

    def occupy(self, wanted: Callable[[], bool]) -> None:
        """A kernel takes every place of every multiprocessor, so that no other can begin while `wanted()`."""
        with self._lock:
            if self._busy:
                return
            flag = ctypes.c_uint32.from_address(int(_driver("MemHostAlloc", 4, _MAPPED)))
            flag.value = 0
            sms = int(cuda.call("GetDeviceProperties", cuda.select(self._device)).multiProcessorCount)
            pointer = int(_driver("MemHostGetDevicePointer", ctypes.addressof(flag), 0))
            self._launch("spin", sms * _BLOCKS_PER_SM, _THREADS, pointer)
            self._busy = True
        threading.Thread(target=self._release, args=(wanted, flag), name="fault", daemon=True).start()

    def _release(self, wanted: Callable[[], bool], flag: ctypes.c_uint32) -> None:
        while wanted():
            time.sleep(_POLL)
        flag.value = 1
        self._busy = False

    def _launch(self, name: str, blocks: int, threads: int, *pointers: int) -> None:
        cuda.select(self._device)
        module = _driver("ModuleLoadData", _PTX)
        function = _driver("ModuleGetFunction", module, name.encode())
        stream = cuda.new_stream()
        arguments = (tuple(pointers), tuple(ctypes.c_uint64 for _ in pointers)) if pointers else 0
        _driver("LaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, stream, arguments, 0)


def _driver(name: str, *arguments: Any) -> Any:
    """Calls `cu<name>`; returns its result. Raises EngineError."""
    from cuda.bindings import driver

    status, *results = getattr(driver, f"cu{name}")(*arguments)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise EngineError(f"CUDA: {name} failed: {status.name}")
    return results[0] if results else None
