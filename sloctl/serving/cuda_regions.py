"""Regions in a GPU's memory, and host regions that the GPU reads directly."""

import base64
import binascii
import ctypes
from contextlib import suppress
from functools import partial
from math import prod
from typing import Any

import numpy as np
import structlog

from sloctl.engines import cuda
from sloctl.engines.base import DeviceArray, EngineError, Tensor
from sloctl.serving.errors import failed, invalid
from sloctl.serving.regions import Mapping
from sloctl.serving.tensors import DTYPES

log = structlog.get_logger("sloctl.serving")
_HANDLE_BYTES = 64  # CUDA_IPC_HANDLE_SIZE
_LAZY_PEER_ACCESS = 1  # cudaIpcMemLazyEnablePeerAccess, the only flag there is
_PORTABLE = 1  # cudaHostRegisterPortable: for all contexts


class CudaRegion:
    """Memory that a client allocated on a GPU, opened by its inter-process handle."""

    def __init__(self, name: str, raw_handle: str, device_id: int, byte_size: int) -> None:
        """`raw_handle` is base64. Raises RequestError where it cannot be opened or holds fewer bytes."""
        self._pointer = 0
        self.name = name
        self.byte_size = byte_size
        self._device = device_id
        handle = _handle(name, raw_handle)
        try:
            cuda.call("SetDevice", device_id)
            self._pointer = int(cuda.call("IpcOpenMemHandle", handle, _LAZY_PEER_ACCESS))
        except EngineError as error:
            raise invalid(f"region {name!r}: cannot open the handle on device {device_id}: {error}") from None
        held = _allocated(self._pointer)
        if not 0 < byte_size <= held:
            self._close()
            raise invalid(f"region {name!r}: byte_size is {byte_size}; expected 1 to {held}, what was allocated")

    def tensor(self, offset: int, size: int, datatype: str, shape: tuple[int, ...]) -> DeviceArray:
        """The tensor where it lies; the result keeps the region open."""
        dtype = DTYPES[datatype]
        if dtype == np.object_:
            raise invalid("BYTES cannot lie in CUDA shared memory; use system shared memory")
        if size != prod(shape) * dtype.itemsize:
            raise invalid(f"shape {list(shape)} of {datatype} has {prod(shape) * dtype.itemsize} bytes, not {size}")
        return DeviceArray(self._pointer + offset, shape, dtype, owner=self)

    def write(self, offset: int, array: Tensor) -> None:
        """Copies it to the device, and waits for that."""
        try:
            cuda.call("SetDevice", self._device)
            cuda.copy_in(self._pointer + offset, np.ascontiguousarray(array), 0)
            cuda.call("StreamSynchronize", 0)
        except EngineError as error:
            raise failed("shared_memory", f"region {self.name!r} cannot be written: {error}") from None

    def check(self) -> None:
        """An open handle keeps the memory, whatever its client does."""

    def _close(self) -> None:
        pointer, self._pointer = self._pointer, 0
        if pointer:
            with suppress(EngineError):  # after a sticky error nothing can be closed
                cuda.call("IpcCloseMemHandle", pointer)

    def __del__(self) -> None:
        self._close()


def _handle(name: str, raw_handle: str) -> Any:
    try:
        raw = base64.b64decode(raw_handle, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"region {name!r}: raw_handle is not base64") from None
    if len(raw) != _HANDLE_BYTES:
        raise invalid(f"region {name!r}: raw_handle has {len(raw)} bytes; expected {_HANDLE_BYTES}")
    from cuda.bindings import runtime

    handle = runtime.cudaIpcMemHandle_t()
    ctypes.memmove(handle.getPtr(), raw, _HANDLE_BYTES)
    return handle


def _allocated(pointer: int) -> int:
    """Bytes from there to the allocation's end: reading beyond would cost the process its device."""
    from cuda.bindings import driver

    status, base, size = driver.cuMemGetAddressRange(pointer)
    return 0 if status != driver.CUresult.CUDA_SUCCESS else int(base) + int(size) - pointer


def pin(mapping: Mapping, device: str) -> None:
    """Lets the device read and write mapped memory directly, until it is unmapped; that it cannot is only logged."""
    address = np.frombuffer(mapping, np.uint8).ctypes.data
    try:
        cuda.select(device)
        cuda.call("HostRegister", address, len(mapping), _PORTABLE)
    except EngineError as error:
        log.warning("shared memory is not pinned: copies to the device are slower", error=str(error))
        return
    mapping.unpin = partial(_unpin, address)


def _unpin(address: int) -> None:
    with suppress(EngineError):  # after a sticky error nothing can be given back
        cuda.call("HostUnregister", address)
