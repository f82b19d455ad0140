"""V2 over gRPC: a real server and client in one loop, with a fake engine behind them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from sloctl.board import BreakerCommand, Phase
from sloctl.serving.rpc.messages import classes, message, service
from sloctl.serving.rpc.server import RpcServer
from sloctl.serving.rpc.services import _IN_A_STREAM
from sloctl.telemetry import catalogue

PROTO = Path(__file__).parents[2] / "sloctl/serving/rpc/proto"
OK = grpc.StatusCode.OK
Stub = Any


class Client:
    """Calls methods of both services by name."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    def __call__(self, method: str, owner: str = "inference.GRPCInferenceService", **fields: Any) -> Any:
        described = service(owner).methods_by_name[method]
        given, made = classes(described)
        make = self.channel.stream_stream if described.client_streaming else self.channel.unary_unary
        call = make(
            f"/{owner}/{method}", request_serializer=given.SerializeToString, response_deserializer=made.FromString
        )
        if described.client_streaming:
            return call()
        timeout, metadata = fields.pop("timeout", None), fields.pop("metadata", None)
        return call(given(**fields), timeout=timeout, metadata=metadata)


@pytest.fixture
async def serve() -> AsyncIterator[Any]:
    made: list[Any] = []

    async def start(bench: Any, most: int = 1 << 20) -> Client:
        server = RpcServer(bench.plane, "127.0.0.1:0", most)
        await server.start()
        client = Client(server.port)
        made.append((server, client))
        return client

    yield start
    for server, client in made:
        await client.channel.close()
        await server.stop()


@pytest.fixture
async def client(bench, serve):
    return await serve(bench)


def x(*rows: float, **more: Any) -> dict[str, Any]:
    """An input of rows of four times the same number."""
    return {"name": "x", "datatype": "FP32", "shape": [len(rows), 4], **more}


def raw(*rows: float) -> bytes:
    return np.repeat(np.array(rows, np.float32), 4).tobytes()


def request(*rows: float, **more: Any) -> dict[str, Any]:
    return {"model_name": "m", "inputs": [x(*rows)], "raw_input_contents": [raw(*rows)], **more}


def values(response: Any) -> list[float]:
    return np.frombuffer(response.raw_output_contents[0], np.float32)[::4].tolist()


async def until(holds: Callable[[], bool]) -> None:
    """Lets the loop turn until something holds; pytest's timeout ends it."""
    while not holds():  # noqa: ASYNC110  nobody sets an event for what it looks at
        await asyncio.sleep(0.001)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A shared memory object with two rows and room for two."""
    path = Path(f"/dev/shm/sloctl-rpc-{os.getpid()}")
    path.write_bytes(raw(1, 2) + bytes(32))
    yield path
    path.unlink()


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_answers_raw_tensors_and_says_which_variant_served(client):
    answer = await client("ModelInfer", **request(1, 2), id="7")
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", "7")
    assert answer.parameters["sloctl_variant"].string_param == "fp32"
    assert [(out.name, out.datatype, list(out.shape)) for out in answer.outputs] == [("y", "FP32", [2, 4])]
    assert values(answer) == [2, 4]


async def test_answers_typed_contents(client):
    given = x(1, 3, contents={"fp32_contents": [1] * 4 + [3] * 4})
    assert values(await client("ModelInfer", model_name="m", inputs=[given])) == [2, 6]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"inputs": [x(1)]}, "neither contents nor raw_input_contents is given"),
        ({"inputs": [x(1)], "raw_input_contents": [raw(1), raw(2)]}, "1 more tensors than there are inputs"),
        ({"inputs": [x(1)], "raw_input_contents": [b"123"]}, "3 bytes are not a whole number of FP32 values"),
        ({"inputs": [x(1)], "raw_input_contents": [raw(1, 2)]}, "8 values do not fill shape"),
        ({"inputs": [x(1, contents={"fp32_contents": [1]})]}, "1 values do not fill shape"),
        ({"inputs": [x(1, contents={"int_contents": [1] * 4})]}, "belongs in fp32_contents, not in int_contents"),
        ({"inputs": [x(1, name="z")]}, "no input 'z'"),
        ({"inputs": [x(1, datatype="INT8")]}, "the model expects FP32"),
        ({"inputs": [x(1)], "parameters": {"priority": {"int64_param": -1}}}, "expected a whole number"),
        ({"inputs": [x(1)], "parameters": {"timeout": {"string_param": "soon"}}}, "expected a whole number"),
        ({"inputs": [x(1)], "outputs": [{"name": "q"}], "raw_input_contents": [raw(1)]}, "no output 'q'"),
    ],
)
async def test_bad_requests_are_the_clients_mistake(client, bench, fields, words):
    error = await refused(client("ModelInfer", model_name="m", **fields))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in error.details()
    assert bench.scalar(catalogue.REQUESTS, "m", "normal", "invalid") == 1


async def test_an_unknown_model_is_not_found(client):
    error = await refused(client("ModelInfer", model_name="nobody"))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no model 'nobody'; there is m")


async def test_a_request_above_the_bound_is_refused(bench, serve):
    client = await serve(bench, most=1000)
    error = await refused(client("ModelInfer", model_name="m", raw_input_contents=[bytes(100_000)]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_refusal_tells_its_reason_and_when_to_come_again_in_every_way_that_clients_read(client, bench):
    bench.word(breaker=BreakerCommand.FORCE_OPEN, breaker_sequence=1)
    error = await refused(client("ModelInfer", **request(1)))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    told = dict(error.trailing_metadata())
    assert told["sloctl-reason"] == "breaker_open"
    rich = Status.FromString(told["grpc-status-details-bin"])
    info, retry = ErrorInfo(), RetryInfo()
    assert rich.details[0].Unpack(info)
    assert rich.details[1].Unpack(retry)
    assert (rich.code, info.reason, info.domain) == (grpc.StatusCode.UNAVAILABLE.value[0], "BREAKER_OPEN", "sloctl")
    assert int(told["grpc-retry-pushback-ms"]) == retry.retry_delay.ToMilliseconds() > 0


async def test_metadata_name_the_class_and_a_wrong_one_is_refused(bench, client):
    await client("ModelInfer", **request(1), metadata=[("x-sloctl-priority", "low")])
    assert bench.scalar(catalogue.REQUESTS, "m", "low", "ok") == 1
    error = await refused(client("ModelInfer", **request(1), metadata=[("x-sloctl-priority", "urgent")]))
    assert (error.code(), "expected one of high" in error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert bench.scalar(catalogue.REQUESTS, "m", "normal", "invalid") == 1


async def test_over_its_rate_a_tenant_is_told_when_to_come_back(make, serve):
    bench = make(tenants={"rate": 0.1, "burst": 1})
    await bench.load()
    client = await serve(bench)
    mine = [("x-sloctl-tenant", "a")]
    await client("ModelInfer", **request(1), metadata=mine)
    error = await refused(client("ModelInfer", **request(1), metadata=mine))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    told = dict(error.trailing_metadata())
    assert told["sloctl-reason"] == "rate_limited"
    assert 1000 < int(told["grpc-retry-pushback-ms"]) <= 10_000
    rich = Status.FromString(told["grpc-status-details-bin"])
    assert {each.TypeName() for each in rich.details} == {"google.rpc.ErrorInfo", "google.rpc.RetryInfo"}
    await client("ModelInfer", **request(1), metadata=[("x-sloctl-tenant", "b")])
    assert bench.scalar(catalogue.REQUESTS, "m", "normal", "rate_limited") == 1


async def test_the_calls_deadline_is_the_requests(client, bench):
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    occupied = client("ModelInfer", **request(1))
    await asyncio.sleep(0)
    error = await refused(client("ModelInfer", **request(1), timeout=0.05))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    bench.engines["fp32"].go.set()
    assert values(await occupied) == [2]


async def test_a_client_that_gives_up_is_counted_and_leaves_nothing_behind(client, bench):
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    call = client("ModelInfer", **request(1))
    await until(lambda: bench.plane.inflight == 1)
    call.cancel()
    await until(lambda: not bench.plane.inflight)
    assert bench.scalar(catalogue.REQUESTS, "m", "normal", "cancelled") == 1
    bench.engines["fp32"].go.set()
    assert values(await client("ModelInfer", **request(5))) == [10]


async def test_priority_is_taken_from_the_parameters(client, bench):
    for value in ({"int64_param": 1}, {"uint64_param": 1}):
        await client("ModelInfer", **request(1), parameters={"priority": value})
    assert bench.scalar(catalogue.REQUESTS, "m", "high", "ok") == 2


async def test_a_stream_answers_each_request_while_it_is_open_and_goes_on_after_an_error(client):
    make, stream = message("ModelInferRequest"), client("ModelStreamInfer")
    final = {"triton_enable_empty_final_response": {"bool_param": True}}
    await stream.write(make(**request(1), id="a"))
    first = await stream.read()  # though more requests may follow
    await stream.write(make(model_name="m", id="b"))
    await stream.write(make(**request(3), id="c", parameters=final))
    second, third = await stream.read(), await stream.read()
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert (first.infer_response.id, values(first.infer_response)) == ("a", [2])
    assert (second.infer_response.id, second.error_message) == ("b", "missing input: x")
    assert (third.infer_response.id, values(third.infer_response)) == ("c", [6])
    assert third.infer_response.parameters["triton_final_response"].bool_param


async def test_a_stream_has_many_requests_in_hand_and_answers_in_order(client, bench):
    bench.in_threads()
    make, stream = message("ModelInferRequest"), client("ModelStreamInfer")
    for number in range(200):
        await stream.write(make(**request(number), id=str(number)))
    await stream.done_writing()
    answers = [answer async for answer in stream]
    assert [answer.infer_response.id for answer in answers] == [str(number) for number in range(200)]
    assert answers[13].error_message  # the fake engine's unlucky number
    assert all(values(answers[number].infer_response) == [2.0 * number] for number in range(200) if number != 13)


async def test_a_stream_that_is_cut_leaves_nothing_in_flight(client, bench):
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    stream = client("ModelStreamInfer")
    for number in range(3):
        await stream.write(message("ModelInferRequest")(**request(number)))
    await until(lambda: bench.plane.inflight == 3)
    stream.cancel()
    await until(lambda: not bench.plane.inflight)


async def test_a_stream_that_is_cut_while_it_has_all_that_it_may_leaves_nothing_in_flight(make, serve):
    bench = make(admission={"limit": "off"})
    await bench.load()
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    stream = (await serve(bench))("ModelStreamInfer")
    most = _IN_A_STREAM + 2  # one more is waited for, and another waits for its place
    for number in range(most + 1):
        await stream.write(message("ModelInferRequest")(**request(number)))
    await until(lambda: bench.plane.inflight == most)
    stream.cancel()
    await until(lambda: not bench.plane.inflight)


async def test_health_says_what_the_plane_is(make, serve):
    bench = make()
    client = await serve(bench)
    assert (await client("ServerLive")).live
    assert not (await client("ServerReady")).ready
    assert not (await client("ModelReady", name="m")).ready
    health = "grpc.health.v1.Health"
    assert (await client("Check", health)).status == 2
    error = await refused(client("ModelInfer", **request(1)))
    assert (error.code(), dict(error.trailing_metadata())["sloctl-reason"]) == (grpc.StatusCode.UNAVAILABLE, "starting")
    await bench.load()
    assert (await client("ServerReady")).ready
    assert (await client("ModelReady", name="m", version="1")).ready
    assert (await client("Check", health, service="inference.GRPCInferenceService")).status == 1
    assert (await refused(client("Check", health, service="other"))).code() is grpc.StatusCode.NOT_FOUND
    bench.plane.phase = Phase.DRAINING
    assert not (await client("ServerReady")).ready


async def test_describes_server_and_model_as_http_does(client, bench):
    assert (await client("ServerMetadata")).name == "sloctl"
    metadata = await client("ModelMetadata", name="m")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("x", "FP32", [-1, 4])]
    config = (await client("ModelConfig", name="m")).config
    assert (config.name, config.max_batch_size, config.input[0].data_type) == ("m", 8, 11)
    assert config.parameters["sloctl_variants"].string_value == "fp32,int8"
    await client("ModelInfer", **request(1, 2))
    (found,) = (await client("ModelStatistics", name="m")).model_stats
    assert (found.inference_count, found.inference_stats.success.count) == (2, 1)
    (model,) = (await client("RepositoryIndex")).models
    assert (model.name, model.state) == ("m", "READY")


@pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"])
async def test_what_is_not_supported_says_so(client, method):
    assert (await refused(client(method))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_shared_memory_is_registered_used_and_given_back(make, serve, shared):
    bench = make(device="cpu")
    await bench.load()
    client = await serve(bench)
    await client("SystemSharedMemoryRegister", name="r", key=shared.name, byte_size=64)
    status = await client("SystemSharedMemoryStatus")
    assert (status.regions["r"].key, status.regions["r"].byte_size) == (shared.name, 64)
    place = {"shared_memory_region": {"string_param": "r"}, "shared_memory_byte_size": {"int64_param": 32}}
    given = x(1, 2, parameters=place)
    out = {"name": "y", "parameters": {**place, "shared_memory_offset": {"int64_param": 32}}}
    answer = await client("ModelInfer", model_name="m", inputs=[given], outputs=[out])
    assert list(answer.raw_output_contents) == [b""]
    assert answer.outputs[0].parameters["shared_memory_offset"].int64_param == 32
    assert shared.read_bytes()[32:] == raw(2, 4)
    await client("SystemSharedMemoryUnregister", name="r")
    assert not (await client("SystemSharedMemoryStatus")).regions
    error = await refused(client("ModelInfer", model_name="m", inputs=[given]))
    assert "no shared memory region 'r' is registered" in error.details()


async def test_shared_memory_that_is_off_is_refused(client):
    assert (await refused(client("SystemSharedMemoryStatus"))).code() is grpc.StatusCode.PERMISSION_DENIED


def test_the_descriptors_are_those_of_the_definitions(tmp_path: Path) -> None:
    out = tmp_path / "v2.binpb"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(PROTO), f"--descriptor_set_out={out}"]
    subprocess.run([*command, "--include_imports", "grpc_service.proto", "health.proto"], check=True)
    assert out.read_bytes() == (PROTO / "v2.binpb").read_bytes()
