"""Shared memory with real CUDA: a region on a GPU that another process allocated, and host memory that is pinned."""

import asyncio
import base64
import ctypes
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sloctl.engines import cuda
from sloctl.engines.base import EngineError
from sloctl.serving.errors import RequestError
from sloctl.serving.registry import Record, Regions

pytestmark = pytest.mark.gpu
COUNT = 1 << 16
SIZE = 4 * COUNT


def gpu_missing() -> str:
    try:
        cuda.select("cuda:0")
    except EngineError as error:
        return str(error)
    return ""


def to_host(address: int, count: int) -> list[float]:
    found = np.empty(count, np.float32)
    kind = cuda._runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost
    cuda.call("MemcpyAsync", found.ctypes.data, address, found.nbytes, kind, 0)
    cuda.call("StreamSynchronize", 0)
    return found.tolist()


def be_client() -> None:
    """Allocates, prints the handle, waits for a line, and prints what lies behind the first 16 floats."""
    cuda.select("cuda:0")
    pointer = int(cuda.call("Malloc", SIZE))
    cuda.copy_in(pointer, np.arange(COUNT, dtype=np.float32), 0)
    cuda.call("StreamSynchronize", 0)
    handle = cuda.call("IpcGetMemHandle", pointer)
    raw = bytes((ctypes.c_char * 64).from_address(handle.getPtr()))
    print(base64.b64encode(raw).decode(), flush=True)
    sys.stdin.readline()
    print(json.dumps(to_host(pointer + 64, 4)), flush=True)


@pytest.fixture
def client() -> Iterator[Any]:
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def regions() -> Iterator[Regions]:
    if why := gpu_missing():
        pytest.skip(why)
    fd = os.memfd_create("regions")
    yield Regions(Record(fd), "cuda:0")
    os.close(fd)


def test_a_region_of_another_process_is_read_and_written_and_never_beyond_its_end(regions, client):
    handle = client.stdout.readline().strip()

    def register(name: str, size: int) -> None:
        body = {"raw_handle": {"b64": handle}, "device_id": 0, "byte_size": size}
        asyncio.run(regions.register("cuda", name, json.dumps(body).encode()))

    register("c", SIZE)
    region: Any = regions.find("c")
    assert to_host(region.tensor(40, 16, "FP32", (4,)).pointer, 4) == [10.0, 11.0, 12.0, 13.0]
    region.write(64, np.float32([5, 6, 7, 8]))
    client.stdin.write("\n")
    client.stdin.flush()
    assert json.loads(client.stdout.readline()) == [5.0, 6.0, 7.0, 8.0]
    with pytest.raises(RequestError, match="what was allocated"):
        register("beyond", 1 << 40)
    regions.unregister("cuda", None)


def test_host_memory_is_pinned_and_given_back(regions):
    path = Path(f"/dev/shm/sloctl-test-{os.getpid()}")
    path.write_bytes(np.arange(COUNT, dtype=np.float32).tobytes())

    async def registered() -> None:
        await regions.register("system", "s", json.dumps({"key": path.name, "byte_size": SIZE}).encode())
        async with asyncio.timeout(10):
            while regions.find("s").mapping.unpin is None:  # noqa: ASYNC110  it happens in a thread
                await asyncio.sleep(0.01)

    try:
        asyncio.run(registered())
        target = int(cuda.call("Malloc", SIZE))
        cuda.copy_in(target, regions.find("s").tensor(0, SIZE, "FP32", (COUNT,)), 0)
        assert to_host(target, COUNT) == list(range(COUNT))
        cuda.call("Free", target)
        regions.unregister("system", None)
        gc.collect()
        assert str(path) not in Path("/proc/self/maps").read_text()
    finally:
        path.unlink()


if __name__ == "__main__":
    be_client()
