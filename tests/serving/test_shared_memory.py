"""System shared memory: registered, used and given back, with a fake engine behind it."""

import asyncio
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sloctl.config.daemon import ServingConfig
from sloctl.serving.errors import RequestError
from sloctl.serving.registry import Record, Regions

SYSTEM = "/v2/systemsharedmemory"
PAGE = 4096


@pytest.fixture
def shm() -> Iterator[Callable[..., Path]]:
    """Makes POSIX shared memory objects that hold these bytes."""
    made: list[Path] = []

    def make(content: bytes = bytes(PAGE), name: str = "") -> Path:
        path = Path("/dev/shm") / (name or f"sloctl-test-{os.getpid()}-{len(made)}")
        path.write_bytes(content)
        made.append(path)
        return path

    yield make
    for path in made:
        path.unlink(missing_ok=True)


@pytest.fixture
async def bench(make):
    built = make(device="cpu")
    await built.load()
    return built


async def register(bench, name: str, path: Path | str, size: int = PAGE, offset: int = 0):
    key = path if isinstance(path, str) else path.name
    body = json.dumps({"key": key, "offset": offset, "byte_size": size}).encode()
    return await bench.call("POST", f"{SYSTEM}/region/{name}/register", body)


async def status(bench, path: str = f"{SYSTEM}/status"):
    response = await bench.call("GET", path)
    assert response.status == 200
    return json.loads(response.body)


def at(region: str, size: int, offset: int = 0) -> dict:
    return {"shared_memory_region": region, "shared_memory_byte_size": size, "shared_memory_offset": offset}


async def infer(bench, rows: int, given: dict, wanted: dict | None = None, **changes):
    sent = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "parameters": given, **changes}
    outputs = {} if wanted is None else {"outputs": [{"name": "y", "parameters": wanted}]}
    return await bench.call("POST", "/v2/models/m/infer", json.dumps({"inputs": [sent], **outputs}).encode())


def error(response) -> str:
    return json.loads(response.body)["error"]


async def test_inputs_and_outputs_lie_in_shared_memory(bench, shm):
    rows = np.arange(8, dtype=np.float32)
    path = shm(bytes(64) + rows.tobytes() + bytes(PAGE))
    assert (await register(bench, "r", path, size=512, offset=64)).status == 200
    response = await infer(bench, 2, at("r", 32), at("r", 100, 128))
    assert json.loads(response.body)["outputs"] == [
        {
            "name": "y",
            "datatype": "FP32",
            "shape": [2, 4],
            "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 32, "shared_memory_offset": 128},
        }
    ]
    written = np.frombuffer(path.read_bytes(), np.float32, 8, 64 + 128)
    assert written.tolist() == (2 * rows).tolist()


async def test_a_region_need_not_begin_at_a_page(bench, shm):
    path = shm(bytes(PAGE + 12) + np.float32([1, 2, 3, 4]).tobytes() + bytes(PAGE))
    assert (await register(bench, "r", path, size=16, offset=PAGE + 12)).status == 200
    assert json.loads((await infer(bench, 1, at("r", 16))).body)["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]


async def test_the_engine_is_given_the_memory_itself(bench, shm):
    path = shm(np.ones(PAGE // 4, np.float32).tobytes())
    await register(bench, "r", path)
    bench.in_threads()
    engine = bench.engines["fp32"]
    engine.go.clear()
    running = asyncio.create_task(infer(bench, 1, at("r", 16)))
    await settled(lambda: bench.model._lane.jobs)
    with path.open("r+b") as file:
        file.write(np.float32([5, 6, 7, 8]).tobytes())
    engine.go.set()
    assert json.loads((await running).body)["outputs"][0]["data"] == [10.0, 12.0, 14.0, 16.0]


async def test_status_names_what_is_registered_and_unregister_forgets_it(bench, shm):
    for name in ("a", "b/c", "d"):
        assert (await register(bench, name, shm(), size=100)).status == 200
    assert [row["name"] for row in await status(bench)] == ["a", "b/c", "d"]
    (row,) = await status(bench, f"{SYSTEM}/region/b/c/status")
    assert {**row, "key": ""} == {"name": "b/c", "key": "", "offset": 0, "byte_size": 100}
    for _ in range(2):  # as Triton has it, a region that is not there is no mistake
        response = await bench.call("POST", f"{SYSTEM}/region/a/unregister")
        assert (response.status, response.body) == (200, b"")
    assert (await bench.call("GET", f"{SYSTEM}/region/a/status")).status == 404
    assert "no shared memory region 'a'" in error(await infer(bench, 1, at("a", 16)))
    assert (await bench.call("POST", f"{SYSTEM}/unregister")).status == 200
    assert await status(bench) == []


async def test_a_name_that_was_given_back_can_name_other_memory(bench, shm):
    for factor in (1, 3):
        path = shm(np.full(4, factor, np.float32).tobytes())
        assert (await register(bench, "r", path, size=16)).status == 200
        assert json.loads((await infer(bench, 1, at("r", 16))).body)["outputs"][0]["data"] == [2.0 * factor] * 4
        await bench.call("POST", f"{SYSTEM}/region/r/unregister")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param({"key": "absent-object"}, "cannot open .*/absent-object: no such file", id="no such object"),
        pytest.param({"key": "/absent"}, "cannot open .*/dev/shm/absent: no such file", id="none of shm_open's name"),
        pytest.param({"key": "../../etc/passwd"}, "is no name of a POSIX", id="a path"),
        pytest.param({"key": ".."}, "is no name of a POSIX", id="the folder above"),
        pytest.param({"key": ""}, "is no name of a POSIX", id="no key"),
        pytest.param({"key": "a\0b"}, "is no name of a POSIX", id="a NUL"),
        pytest.param({"key": "k" * 300}, "is no name of a POSIX", id="an endless key"),
        pytest.param({"byte_size": PAGE + 1}, f"end at {PAGE + 1}, but the object .* has {PAGE} bytes", id="too large"),
        pytest.param({"offset": PAGE}, f"end at {PAGE + 100}", id="an offset beyond"),
        pytest.param({"byte_size": 0}, "byte_size is 0", id="nothing"),
        pytest.param({"byte_size": -1}, "byte_size", id="a negative size"),
        pytest.param({"offset": -PAGE}, "offset", id="a negative offset"),
        pytest.param({"offset": 1 << 70}, "offset", id="an absurd offset"),
        pytest.param({"offset": (1 << 62) - 1}, "end at", id="a large offset"),
        pytest.param({"byte_size": "100"}, "byte_size", id="a size that is no number"),
        pytest.param({"byte_size": None}, "byte_size", id="no size"),
    ],
)
async def test_refuses_what_cannot_be_registered(bench, shm, given, words):
    asked = {"key": shm().name, "byte_size": 100, "offset": 0, **given}
    response = await bench.call("POST", f"{SYSTEM}/region/r/register", json.dumps(asked).encode())
    assert response.status == 400
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(error(response))
    assert await status(bench) == []


async def test_a_link_out_of_the_folder_is_not_followed(bench, shm, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(PAGE))
    link = shm()
    link.unlink()
    link.symlink_to(secret)
    assert "cannot open" in error(await register(bench, "r", link))


async def test_a_name_is_registered_once_and_there_are_not_too_many(bench, shm):
    path = shm()
    assert (await register(bench, "r0", path)).status == 200
    assert "registered already" in error(await register(bench, "r0", path))
    for n in range(1, 256):
        assert (await register(bench, f"r{n}", path)).status == 200
    assert "256 shared memory regions" in error(await register(bench, "one-more", path))
    assert "at most 255 bytes" in error(await register(bench, "n" * 256, path))


@pytest.mark.parametrize(
    ("given", "changes", "words"),
    [
        pytest.param(at("nobody", 16), {}, "no shared memory region 'nobody'", id="an unknown region"),
        pytest.param(at("r", 16, 90), {}, "end at 106, but region 'r' has 100 bytes", id="beyond the region"),
        pytest.param(at("r", 12), {}, "3 values do not fill", id="less than the shape needs"),
        pytest.param(at("r", 32), {}, "8 values do not fill", id="more than the shape needs"),
        pytest.param(at("r", 15), {}, "not a whole number of FP32", id="half a number"),
        pytest.param(at("r", -16), {}, "shared_memory_byte_size", id="a negative size"),
        pytest.param(at("r", 16, -4), {}, "shared_memory_offset", id="a negative offset"),
        pytest.param({"shared_memory_region": "r"}, {}, "belong together", id="no size"),
        pytest.param({"shared_memory_byte_size": 16}, {}, "belong together", id="no region"),
        pytest.param({**at("r", 16), "shared_memory_region": 7}, {}, "expected a string", id="a number for a name"),
        pytest.param(at("r", 16), {"data": [1, 2, 3, 4]}, "both data and shared memory", id="data besides"),
        pytest.param({**at("r", 16), "binary_data_size": 16}, {}, "both data and shared memory", id="binary besides"),
    ],
)
async def test_inputs_that_do_not_fit_are_the_clients_mistake(bench, shm, given, changes, words):
    await register(bench, "r", shm(), size=100)
    response = await infer(bench, 1, given, **changes)
    assert (response.status, words in error(response)) == (400, True), error(response)
    assert bench.model.inflight == 0


async def test_an_output_that_does_not_fit_its_place_says_both_sizes(bench, shm):
    await register(bench, "r", shm(), size=100)
    response = await infer(bench, 1, at("r", 16), at("r", 12, 32))
    assert (response.status, error(response)) == (400, "output 'y' has 16 bytes; its shared_memory_byte_size is 12")


async def test_memory_that_shrinks_while_its_request_waits_costs_that_request_alone(bench, shm):
    path = shm(np.full(PAGE, 2, np.float32).tobytes())
    await register(bench, "r", path, size=4 * PAGE)
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    occupied = asyncio.create_task(bench.infer(1.0))
    await asyncio.sleep(0.01)
    cut, whole = asyncio.create_task(infer(bench, 1, at("r", 16, 3 * PAGE))), asyncio.create_task(bench.infer(3.0))
    await asyncio.sleep(0.01)  # both wait
    os.truncate(path, PAGE)
    bench.engines["fp32"].go.set()
    assert "has shrunk to 4096 bytes" in error(await cut)
    assert (await occupied).status == (await whole).status == 200
    assert bench.model.inflight == 0


async def test_memory_that_has_shrunk_is_refused_instead_of_touched(bench, shm):
    path = shm(bytes(4 * PAGE))
    await register(bench, "r", path, size=4 * PAGE)
    os.truncate(path, PAGE)
    assert "has shrunk to 4096 bytes" in error(await infer(bench, 1, at("r", 16)))
    assert "has shrunk to 4096 bytes" in error(await infer(bench, 1, at("r", 16), at("r", 16, 64)))


# Giving back


def mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


async def settled(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        gc.collect()
        await asyncio.sleep(0.002)


async def test_a_region_in_use_is_unmapped_after_its_last_user(bench, shm):
    path = shm(np.ones(PAGE // 4, np.float32).tobytes())
    await register(bench, "r", path)
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    running = asyncio.create_task(infer(bench, 1, at("r", 16), at("r", 16, 64)))
    await settled(lambda: bench.model._lane.jobs)
    assert (await bench.call("POST", f"{SYSTEM}/unregister")).status == 200
    assert await status(bench) == []
    assert mapped(path)
    bench.engines["fp32"].go.set()
    assert (await running).status == 200
    assert np.frombuffer(path.read_bytes(), np.float32, 4, 64).tolist() == [2.0] * 4
    del running
    await settled(lambda: not mapped(path))


async def test_what_is_kept_for_a_profile_is_a_copy(bench, shm):
    path = shm(np.full(PAGE // 4, 7, np.float32).tobytes())
    await register(bench, "r", path)
    variant = bench.model.variants[0]
    answers = [infer(bench, rows, at("r", 16 * rows)) for rows in (3, 2)]
    assert [each.status for each in await asyncio.gather(*answers)] == [200, 200]
    (kept,) = variant.last_requests
    assert kept["x"].tolist() == [[7.0] * 4] * 2, "the smallest of its batch"
    await infer(bench, 1, at("r", 16))
    assert variant.last_requests == [kept], "and not again within a second"
    await bench.call("POST", f"{SYSTEM}/unregister")
    await settled(lambda: not mapped(path))
    assert kept["x"].tolist() == [[7.0] * 4] * 2
    await bench.infer(5)
    assert variant.last_requests[0]["x"].tolist() == [[5.0] * 4], "a batch of our own is kept as it is"


# Several processes, and those after them


async def test_what_one_process_registers_or_forgets_the_others_know(shm):
    fd = os.memfd_create("regions")
    one, other = (Regions(Record(fd), "cpu") for _ in range(2))
    first, second = (shm(np.full(4, n, np.float32).tobytes()) for n in (1, 2))

    def seen(regions: Regions) -> float:
        return float(regions.find("r").tensor(0, 16, "FP32", (4,))[0])

    with pytest.raises(RequestError, match="no shared memory region 'r'"):
        other.find("r")
    await one.register("system", "r", json.dumps({"key": first.name, "byte_size": 16}).encode())
    assert (seen(one), seen(other)) == (1.0, 1.0)
    with pytest.raises(RequestError, match="registered already"):
        await other.register("system", "r", json.dumps({"key": second.name, "byte_size": 16}).encode())
    other.unregister("system", "r")
    with pytest.raises(RequestError, match="no shared memory region 'r'"):
        one.find("r")
    await other.register("system", "r", json.dumps({"key": second.name, "byte_size": 16}).encode())
    assert (seen(one), seen(other), seen(Regions(Record(fd), "cpu"))) == (2.0, 2.0, 2.0)
    second.unlink()
    with pytest.raises(RequestError, match="cannot open"):
        Regions(Record(fd), "cpu").find("r")
    os.close(fd)


async def test_a_spoilt_record_is_forgotten_and_can_be_written_again(shm):
    fd = os.memfd_create("regions")
    regions = Regions(Record(fd), "cpu")
    await regions.register("system", "r", json.dumps({"key": shm().name, "byte_size": 16}).encode())
    os.pwrite(fd, b"}", 8)
    after = Regions(Record(fd), "cpu")
    assert after.status("system", None) == []
    await after.register("system", "r", json.dumps({"key": shm().name, "byte_size": 16}).encode())
    assert len(Regions(Record(fd), "cpu").status("system", None)) == 1
    os.close(fd)


# Where it is on


@pytest.mark.parametrize(
    ("given", "on"),
    [
        pytest.param({}, True, id="on loopback by default"),
        pytest.param({"host": "0.0.0.0"}, False, id="not on all addresses"),
        pytest.param({"host": "0.0.0.0", "sharedMemory": True}, True, id="unless it is asked for"),
        pytest.param({"sharedMemory": False}, False, id="not where it is turned off"),
    ],
)
def test_is_on_where_only_this_machine_reaches_it(given, on):
    assert ServingConfig.model_validate(given).shares_memory is on


async def test_says_in_its_metadata_whether_it_is_on(bench, make):
    for each, on in ((bench, True), (make(), False)):
        extensions = json.loads((await each.call("GET", "/v2")).body)["extensions"]
        assert ({"system_shared_memory", "cuda_shared_memory"} <= set(extensions)) is on


async def test_where_it_is_off_nothing_of_it_works(make, shm):
    off = make()
    await off.load()
    assert (await register(off, "r", shm())).status == 403
    assert (await infer(off, 1, at("r", 16))).status == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("POST", f"{SYSTEM}/status", 405, id="status by POST"),
        pytest.param("GET", f"{SYSTEM}/unregister", 405, id="unregister by GET"),
        pytest.param("GET", f"{SYSTEM}/region/r/register", 405, id="register by GET"),
        pytest.param("POST", f"{SYSTEM}/register", 404, id="register nothing"),
        pytest.param("GET", SYSTEM, 404, id="nothing asked"),
        pytest.param("POST", f"{SYSTEM}/region/r/register", 400, id="an empty body"),
    ],
)
async def test_answers_what_the_extension_says_and_nothing_else(bench, method, path, status):
    assert (await bench.call(method, path)).status == status
