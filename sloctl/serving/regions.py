"""Memory that clients share with the data plane, and the tensors in it.

A region lives as long as somebody uses it: views of it hold it, so one that is unregistered while requests are in
flight is unmapped after the last of them.
"""

import mmap
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from sloctl.engines.base import DeviceArray, Tensor
from sloctl.serving.errors import RequestError, invalid
from sloctl.serving.tensors import from_bytes, to_bytes

SHM = Path("/dev/shm")  # noqa: S108  where shm_open(3) keeps its objects on Linux


class Region(Protocol):
    """What a place in a region is read from and written to. Methods raise RequestError."""

    @property
    def name(self) -> str:
        """The name that it was registered under."""

    @property
    def byte_size(self) -> int:
        """Its size."""

    def tensor(self, offset: int, size: int, datatype: str, shape: tuple[int, ...]) -> Tensor | DeviceArray:
        """The tensor that lies there, without a copy."""

    def write(self, offset: int, array: Tensor) -> None:
        """Copies numbers there, which fit."""

    def check(self) -> None:
        """Whether its memory is still there: what reads what the client has cut off ends this process (SIGBUS)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a region a tensor lies, or shall lie; inside the region's bounds."""

    region: Region
    offset: int
    size: int

    @classmethod
    def within(cls, region: Region, offset: int, size: int) -> "Place":
        """Raises RequestError where it would reach beyond the region."""
        if offset + size > region.byte_size:
            ends = f"shared_memory_offset {offset} and shared_memory_byte_size {size} end at {offset + size}"
            raise invalid(f"{ends}, but region {region.name!r} has {region.byte_size} bytes")
        return cls(region, offset, size)

    def tensor(self, datatype: str, shape: tuple[int, ...]) -> Tensor | DeviceArray:
        """The tensor that lies there. Raises RequestError."""
        return self.region.tensor(self.offset, self.size, datatype, shape)

    def put(self, name: str, array: Tensor, datatype: str) -> int:
        """Writes an output there; returns its bytes. Raises RequestError where it does not fit."""
        if datatype == "BYTES":
            array = np.frombuffer(to_bytes(array, datatype), np.uint8)
        if array.nbytes > self.size:
            raise invalid(f"output {name!r} has {array.nbytes} bytes; its shared_memory_byte_size is {self.size}")
        self.region.write(self.offset, array)
        return array.nbytes


class Mapping(mmap.mmap):
    """Mapped memory that calls `unpin` before it is unmapped, once its last view is gone."""

    unpin: Callable[[], None] | None = None

    def __del__(self) -> None:
        if self.unpin is not None:
            self.unpin()


class SystemRegion:
    """A part of a POSIX shared memory object, mapped."""

    def __init__(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Raises RequestError where there is no such object, or it is too small."""
        self.name = name
        self.byte_size = byte_size
        key = key.removeprefix("/")  # shm_open(3) wants it, others leave it out
        fd = _open(name, key)
        try:
            _check(name, key, os.fstat(fd), offset, byte_size)
            _reserve(fd, name, key, offset, byte_size)
            skip = offset % mmap.PAGESIZE
            self.mapping = Mapping(fd, skip + byte_size, offset=offset - skip)
        except OSError as error:
            raise invalid(f"region {name!r}: {SHM / key}: {_why(error)}") from None
        finally:
            os.close(fd)
        self._end = offset + byte_size
        self._memory = memoryview(self.mapping)[skip:]

    def tensor(self, offset: int, size: int, datatype: str, shape: tuple[int, ...]) -> Tensor:
        """A view; BYTES are copied."""
        self.check()
        return from_bytes(self._memory[offset : offset + size].toreadonly(), datatype, shape)

    def write(self, offset: int, array: Tensor) -> None:
        """Copies it there."""
        self.check()
        np.copyto(np.ndarray(array.shape, array.dtype, self._memory, offset), array)

    def check(self) -> None:
        """Whether its memory is still there."""
        size = self.mapping.size()
        if size < self._end:
            raise invalid(f"the memory of region {self.name!r} has shrunk to {size} bytes; it ended at {self._end}")


def _open(name: str, key: str) -> int:
    if not key or len(os.fsencode(key)) > 255 or key in (".", "..") or "/" in key or "\0" in key:
        raise invalid(f"region {name!r}: key {key!r} is no name of a POSIX shared memory object")
    try:
        return os.open(SHM / key, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise invalid(f"region {name!r}: cannot open the shared memory object {SHM / key}: {_why(error)}") from None


def _check(name: str, key: str, found: os.stat_result, offset: int, byte_size: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise invalid(f"region {name!r}: {SHM / key} is no shared memory object")
    if byte_size < 1:
        raise invalid(f"region {name!r}: byte_size is {byte_size}; expected at least 1")
    if offset + byte_size > found.st_size:
        ends = f"offset {offset} and byte_size {byte_size} end at {offset + byte_size}"
        raise invalid(f"region {name!r}: {ends}, but the object {key!r} has {found.st_size} bytes")


def _reserve(fd: int, name: str, key: str, offset: int, byte_size: int) -> None:
    """Makes the kernel find the memory now: where there is none, touching it later would end this process."""
    try:
        os.posix_fallocate(fd, offset, byte_size)
    except OSError as error:
        message = f"region {name!r}: no {byte_size} bytes of memory for the object {key!r}: {_why(error)}"
        raise RequestError(507, message) from None


def _why(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()
