"""Which regions of shared memory are registered: V2's system and CUDA shared memory extensions.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md

The registrations are kept in memory that the supervisor owns, so that they survive the data plane and are common to
all its processes. Each process opens a region when it first needs it.
"""

import asyncio
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import msgspec
import structlog

from sloctl.serving.errors import RequestError, invalid
from sloctl.serving.parameters import Parameters, text, whole
from sloctl.serving.regions import Place, Region, SystemRegion

Kind = Literal["system", "cuda"]
log = structlog.get_logger("sloctl.serving")
_MOST_REGIONS = 256
_LONGEST_NAME = 255
_RECORD_BYTES = 1 << 20
_GENERATION_BYTES = 8


_Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class _System(msgspec.Struct, frozen=True, tag="system"):
    """What registers a system region; `offset` is where it starts in the object `key`."""

    key: str
    byte_size: _Size
    offset: _Size = 0

    def open(self, name: str) -> SystemRegion:
        return SystemRegion(name, self.key, self.offset, self.byte_size)

    def status(self) -> dict[str, Any]:
        return {"key": self.key, "offset": self.offset, "byte_size": self.byte_size}


class _RawHandle(msgspec.Struct, frozen=True):
    b64: str


class _Cuda(msgspec.Struct, frozen=True, tag="cuda"):
    """What registers a CUDA region."""

    raw_handle: _RawHandle
    device_id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    byte_size: _Size

    def open(self, name: str) -> Region:
        from sloctl.serving.cuda_regions import CudaRegion

        return CudaRegion(name, self.raw_handle.b64, self.device_id, self.byte_size)

    def status(self) -> dict[str, Any]:
        return {"device_id": self.device_id, "byte_size": self.byte_size}


_KINDS: dict[Kind, type[_System | _Cuda]] = {"system": _System, "cuda": _Cuda}


class Registration(msgspec.Struct, frozen=True):
    """A registered region; `serial` tells it from an earlier one of the same name."""

    serial: int
    region: _System | _Cuda

    @property
    def kind(self) -> Kind:
        """Which of the two extensions it belongs to."""
        return "system" if isinstance(self.region, _System) else "cuda"


Registrations = dict[str, Registration]
_DECODER = msgspec.json.Decoder(Registrations)


class Record:
    """The registrations, in a file without a name: a generation number, then a line of JSON.

    Whoever changes them holds the file's lock; the generation tells the others that they have changed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        with self._locked():
            if os.fstat(fd).st_size < _RECORD_BYTES:
                os.ftruncate(fd, _RECORD_BYTES)
        self._memory = mmap.mmap(fd, _RECORD_BYTES)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)  # not flock: the descriptor is one for all processes
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    @property
    def generation(self) -> int:
        """Another number after every change."""
        return int.from_bytes(self._memory[:_GENERATION_BYTES], "little")

    def read(self) -> tuple[int, Registrations]:
        """The generation and what was registered then."""
        with self._locked():
            return self.generation, self._load()

    def change(self, change: Callable[[int, Registrations], None]) -> int:
        """Lets `change` alter them, given the new generation, which is returned; nothing is changed if it raises.

        Raises RequestError.
        """
        with self._locked():
            known, generation = self._load(), self.generation + 1
            change(generation, known)
            line = msgspec.json.encode(known) + b"\n"
            if len(line) > _RECORD_BYTES - _GENERATION_BYTES:
                raise invalid(f"the registrations would take {len(line)} bytes; there is room for {_RECORD_BYTES}")
            self._memory[_GENERATION_BYTES : _GENERATION_BYTES + len(line)] = line
            self._memory[:_GENERATION_BYTES] = generation.to_bytes(_GENERATION_BYTES, "little")
            return generation

    def _load(self) -> Registrations:
        end = self._memory.find(b"\n", _GENERATION_BYTES)
        if end < 0:
            return {}
        try:
            return _DECODER.decode(self._memory[_GENERATION_BYTES:end])
        except msgspec.MsgspecError as error:  # a process was killed while it wrote
            log.error("the registrations of shared memory are spoilt and forgotten", error=str(error))
            return {}


class Regions:
    """The registered regions, and the open ones among them. Methods raise RequestError."""

    def __init__(self, record: Record, device: str, several: bool = False) -> None:
        """`device` is what the models run on: regions are pinned for a GPU, and the CPU has no CUDA regions.

        With `several` devices there are none either: a request may arrive at a process that cannot reach its GPU.
        """
        self._several = several
        self._record = record
        self._device = device
        self._generation, self._known = record.read()
        self._open: dict[str, tuple[Registration, Region]] = {}

    def place(self, parameters: Parameters) -> Place | None:
        """Where the parameters say that a tensor lies; None where they name no shared memory."""
        name, size = text(parameters, "shared_memory_region"), whole(parameters, "shared_memory_byte_size")
        if name is None and size is None:
            return None
        if name is None or size is None:
            raise invalid("shared_memory_region and shared_memory_byte_size belong together; one of them is missing")
        return Place.within(self.find(name), whole(parameters, "shared_memory_offset") or 0, size)

    def find(self, name: str) -> Region:
        """The region of that name, opened."""
        self._refresh()
        found = self._open.get(name)
        if found is None:
            registration = self._known.get(name)
            if registration is None:
                raise invalid(f"no shared memory region {name!r} is registered")
            found = self._open[name] = registration, registration.region.open(name)
            self._pin(found[1])
        return found[1]

    def _refresh(self) -> None:
        if self._record.generation != self._generation:
            self._generation, self._known = self._record.read()
            self._open = {name: each for name, each in self._open.items() if self._known.get(name) == each[0]}

    def _pin(self, region: Region) -> None:
        if self._device != "cpu" and isinstance(region, SystemRegion):
            from sloctl.serving.cuda_regions import pin

            # Pinning a gigabyte takes long; until it is done the driver stages copies.
            asyncio.get_running_loop().run_in_executor(None, pin, region.mapping, self._device)

    async def register(self, kind: Kind, name: str, body: bytes) -> None:
        """Opens a region and keeps it under that name."""
        if kind == "cuda" and self._device == "cpu":
            raise invalid("the models run on the CPU (device: cpu), which cannot reach CUDA shared memory")
        if kind == "cuda" and self._several:
            raise invalid(
                "the models run on several devices, each in a process that sees no other; use system shared memory"
            )
        if len(name.encode()) > _LONGEST_NAME:
            raise invalid(f"a region's name has at most {_LONGEST_NAME} bytes")
        try:
            asked = msgspec.json.decode(body, type=_KINDS[kind])
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise invalid(f"not a registration of {kind} shared memory: {error}") from None
        self._refresh()
        _check_room(name, self._known)
        region = await asyncio.to_thread(asked.open, name)  # finding its memory may take long

        def add(generation: int, known: Registrations) -> None:
            _check_room(name, known)  # another request or process may have been faster
            known[name] = Registration(generation, asked)

        generation = self._record.change(add)
        self._open[name] = Registration(generation, asked), region
        self._refresh()
        self._pin(region)

    def unregister(self, kind: Kind, name: str | None) -> None:
        """Forgets a region, or all of that kind; requests in flight keep what they use. One not there is fine."""
        if name is not None:
            self._refresh()
            self._of_kind(kind, name)

        def remove(_: int, known: Registrations) -> None:
            gone = [each for each, said in known.items() if said.kind == kind and name in (None, each)]
            for each in gone:
                del known[each]

        self._record.change(remove)
        self._refresh()

    def status(self, kind: Kind, name: str | None) -> list[dict[str, Any]]:
        """The region of that name, or all of that kind."""
        self._refresh()
        if name is None:
            names = [each for each, said in self._known.items() if said.kind == kind]
        elif self._of_kind(kind, name) is None:
            raise RequestError(404, f"no {kind} shared memory region {name!r} is registered")
        else:
            names = [name]
        return [{"name": each, **self._known[each].region.status()} for each in names]

    def _of_kind(self, kind: Kind, name: str) -> Registration | None:
        found = self._known.get(name)
        if found is not None and found.kind != kind:
            raise invalid(f"region {name!r} is {found.kind} shared memory, not {kind} shared memory")
        return found


def _check_room(name: str, known: Registrations) -> None:
    if name in known:
        raise invalid(f"a shared memory region {name!r} is registered already; unregister it first")
    if len(known) >= _MOST_REGIONS:
        raise invalid(f"{len(known)} shared memory regions are registered, which is as many as there may be")
