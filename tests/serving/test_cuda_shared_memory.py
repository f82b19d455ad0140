"""CUDA shared memory, with CUDA faked at its boundary: a device's memory is host memory."""

import asyncio
import base64
import ctypes
import enum
import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sloctl.engines import cuda
from sloctl.engines.base import DeviceArray, Execution

CUDA = "/v2/cudasharedmemory"
SIZE = 256


class Status(enum.IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorInvalidValue = 1  # noqa: N815


class Handle:
    def __init__(self) -> None:
        self.raw = ctypes.create_string_buffer(64)

    def getPtr(self) -> int:  # noqa: N802
        return ctypes.addressof(self.raw)


class Runtime(ModuleType):
    """`cuda.bindings.runtime`; a handle's first 8 bytes are the address of a client's allocation."""

    cudaError_t = Status  # noqa: N815
    cudaIpcMemHandle_t = Handle  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToDevice=3)  # noqa: N815

    def __init__(self) -> None:
        super().__init__("runtime")
        self.allocated: dict[int, Any] = {}
        self.open: list[int] = []
        self.pinned: dict[int, int] = {}
        self.fails: set[str] = set()

    def allocate(self, values: np.ndarray) -> tuple[int, str]:
        """A client's allocation: its address and its handle in base64."""
        block = ctypes.create_string_buffer(values.tobytes().ljust(SIZE, b"\0"), SIZE)
        address = ctypes.addressof(block)
        self.allocated[address] = block
        return address, base64.b64encode(address.to_bytes(64, "little")).decode()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)
        work = getattr(self, f"do_{name[4:]}")
        return lambda *args: (Status(name[4:] in self.fails), *(() if name[4:] in self.fails else work(*args)))

    def do_GetErrorString(self, status: Status) -> tuple[bytes]:  # noqa: N802
        return (b"invalid argument",)

    def do_SetDevice(self, index: int) -> tuple[()]:  # noqa: N802
        return ()

    do_StreamSynchronize = do_SetDevice  # noqa: N815

    def do_IpcOpenMemHandle(self, handle: Handle, flags: int) -> tuple[int]:  # noqa: N802
        address = int.from_bytes(handle.raw.raw, "little")
        self.open.append(address)
        return (address,)

    def do_IpcCloseMemHandle(self, address: int) -> tuple[()]:  # noqa: N802
        self.open.remove(address)
        return ()

    def do_MemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[()]:  # noqa: N802
        ctypes.memmove(to, source, size)
        return ()

    def do_HostRegister(self, address: int, size: int, flags: int) -> tuple[()]:  # noqa: N802
        self.pinned[address] = size
        return ()

    def do_HostUnregister(self, address: int) -> tuple[()]:  # noqa: N802
        del self.pinned[address]
        return ()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    runtime = Runtime()
    package, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    driver = SimpleNamespace(
        CUresult=SimpleNamespace(CUDA_SUCCESS=0), cuMemGetAddressRange=lambda pointer: (0, pointer, SIZE)
    )
    bindings.runtime, bindings.driver = runtime, driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", package)
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    cuda._runtime.cache_clear()
    yield runtime
    gc.collect()
    cuda._runtime.cache_clear()


class OnGpu:
    """Makes a fake engine one that reads a GPU's memory."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.runtime = "tensorrt 10"
        self.given: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, *requests: Any) -> Execution:
        self.given += [request["x"] for request in requests]
        return self._engine.infer({"x": np.concatenate([read(request["x"]) for request in requests])})


def read(value: Any) -> np.ndarray:
    if not isinstance(value, DeviceArray):
        return value
    return np.frombuffer(ctypes.string_at(value.pointer, value.nbytes), value.dtype).reshape(value.shape)


@pytest.fixture
async def bench(make, gpu):
    built = make(device="cuda:0")
    for name, engine in built.hosting.engines.items():
        built.hosting.engines[name] = OnGpu(engine)
    await built.load()
    yield built
    await all_given_back(built, gpu)


async def all_given_back(bench, gpu: Runtime) -> None:
    for kind in ("cuda", "system"):
        bench.plane.regions.unregister(kind, None)
    for engine in bench.engines.values():
        engine.__dict__.get("given", []).clear()
    await eventually(lambda: not gpu.open and not gpu.pinned)


async def register(bench, name: str, handle: str, size: int = SIZE, path: str = CUDA):
    body = json.dumps({"raw_handle": {"b64": handle}, "device_id": 0, "byte_size": size}).encode()
    return await bench.call("POST", f"{path}/region/{name}/register", body)


async def infer(bench, given: dict, wanted: dict | None = None, rows: int = 1):
    sent = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "parameters": given}
    outputs = {} if wanted is None else {"outputs": [{"name": "y", "parameters": wanted}]}
    return await bench.call("POST", "/v2/models/m/infer", json.dumps({"inputs": [sent], **outputs}).encode())


def at(region: str, size: int, offset: int = 0) -> dict:
    return {"shared_memory_region": region, "shared_memory_byte_size": size, "shared_memory_offset": offset}


async def eventually(condition: Callable[[], object]) -> None:
    """What is waited for happens in a thread."""
    async with asyncio.timeout(5):
        while not condition():
            gc.collect()
            await asyncio.sleep(0.002)


def error(response) -> str:
    return json.loads(response.body)["error"]


async def test_inputs_are_read_where_they_lie_and_outputs_are_copied_there(bench, gpu):
    address, handle = gpu.allocate(np.float32([0, 1, 2, 3, 4]))
    assert (await register(bench, "g", handle)).status == 200
    response = await infer(bench, at("g", 16, 4), at("g", 16, 64))
    assert response.status == 200
    (given,) = bench.engines["fp32"].given[-1:]
    assert (given.pointer, given.shape, given.dtype) == (address + 4, (1, 4), np.dtype(np.float32))
    assert np.frombuffer(gpu.allocated[address].raw, np.float32, 4, 64).tolist() == [2.0, 4.0, 6.0, 8.0]
    assert bench.model.variants[0].last_requests == (), "nothing of a client's is kept"


async def test_status_shows_it_and_unregister_closes_it_after_its_last_user(bench, gpu):
    address, handle = gpu.allocate(np.float32([1, 2, 3, 4]))
    await register(bench, "g", handle, size=128)
    rows = json.loads((await bench.call("GET", f"{CUDA}/region/g/status")).body)
    assert rows == [{"name": "g", "device_id": 0, "byte_size": 128}]
    assert json.loads((await bench.call("GET", "/v2/systemsharedmemory/status")).body) == []
    wrong = await bench.call("POST", "/v2/systemsharedmemory/region/g/unregister")
    assert error(wrong) == "region 'g' is cuda shared memory, not system shared memory"
    assert (await bench.call("POST", "/v2/systemsharedmemory/unregister")).status == 200
    await infer(bench, at("g", 16))
    given = bench.engines["fp32"].given.pop()
    assert (await bench.call("POST", f"{CUDA}/region/g/unregister")).status == 200
    assert gpu.open == [address], "a tensor in it is still held"
    del given
    bench.engines["fp32"].given.clear()
    await eventually(lambda: not gpu.open)


@pytest.mark.parametrize(
    ("handle", "size", "words"),
    [
        pytest.param("?", SIZE, "is not base64", id="no base64"),
        pytest.param("AAAA", SIZE, "has 3 bytes; expected 64", id="a short handle"),
        pytest.param(None, SIZE + 1, f"byte_size is {SIZE + 1}; expected 1 to {SIZE}", id="beyond the allocation"),
        pytest.param(None, 0, "byte_size is 0", id="nothing"),
    ],
)
async def test_refuses_what_cannot_be_opened(bench, gpu, handle, size, words):
    given = gpu.allocate(np.zeros(4, np.float32))[1] if handle is None else handle
    response = await register(bench, "g", given, size)
    assert (response.status, words in error(response)) == (400, True), error(response)
    await eventually(lambda: not gpu.open)


async def test_says_what_cuda_said(bench, gpu):
    gpu.fails.add("IpcOpenMemHandle")
    response = await register(bench, "g", gpu.allocate(np.zeros(4, np.float32))[1])
    assert response.status == 400
    assert "cannot open the handle on device 0: CUDA: IpcOpenMemHandle failed: invalid argument" in error(response)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(at("g", 12), "shape [1, 4] of FP32 has 16 bytes, not 12", id="less than the shape needs"),
        pytest.param(at("g", 16, SIZE), "but region 'g' has 256 bytes", id="beyond the region"),
    ],
)
async def test_inputs_that_do_not_fit_are_the_clients_mistake(bench, gpu, given, words):
    await register(bench, "g", gpu.allocate(np.zeros(4, np.float32))[1])
    response = await infer(bench, given)
    assert (response.status, words in error(response)) == (400, True), error(response)


async def test_a_daemon_on_the_cpu_has_none(make, gpu):
    built = make(device="cpu")
    await built.load()
    response = await register(built, "g", gpu.allocate(np.zeros(4, np.float32))[1])
    assert (response.status, "the models run on the CPU" in error(response)) == (400, True)


async def test_a_model_on_the_cpu_refuses_it_with_a_sentence(make, gpu):
    built = make(device="cuda:0")
    await built.load()
    await register(built, "g", gpu.allocate(np.zeros(4, np.float32))[1])
    response = await infer(built, at("g", 16))
    assert (response.status, "a model on the CPU cannot read" in error(response)) == (400, True)
    await all_given_back(built, gpu)


async def test_bytes_are_refused(bench, gpu):
    await register(bench, "g", gpu.allocate(np.zeros(4, np.float32))[1])
    place = bench.plane.regions.place(at("g", 16))
    with pytest.raises(Exception, match="use system shared memory"):
        place.tensor("BYTES", (1, 4))


@pytest.fixture
def shm() -> Iterator[Path]:
    path = Path(f"/dev/shm/sloctl-test-{os.getpid()}-pinned")
    path.write_bytes(np.float32([1, 2, 3, 4]).tobytes())
    yield path
    path.unlink()


SYSTEM = "/v2/systemsharedmemory"


async def register_system(bench, path: Path):
    body = json.dumps({"key": path.name, "byte_size": 16}).encode()
    return await bench.call("POST", f"{SYSTEM}/region/s/register", body)


async def test_host_memory_is_pinned_while_it_is_mapped(bench, gpu, shm):
    assert (await register_system(bench, shm)).status == 200
    await eventually(lambda: gpu.pinned)
    assert list(gpu.pinned.values()) == [16]
    assert (await infer(bench, at("s", 16))).status == 200
    bench.engines["fp32"].given.clear()
    assert (await bench.call("POST", f"{SYSTEM}/unregister")).status == 200
    await eventually(lambda: not gpu.pinned)


async def test_where_it_cannot_be_pinned_it_serves_all_the_same(bench, gpu, shm, capsys):
    gpu.fails.add("HostRegister")
    assert (await register_system(bench, shm)).status == 200
    said: list[str] = []
    await eventually(lambda: said.append(capsys.readouterr().out) or "not pinned" in "".join(said))
    assert json.loads((await infer(bench, at("s", 16))).body)["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]
