"""Every row of docs/reference/refusals.md, brought about and asked over HTTP and gRPC."""

import asyncio
import inspect
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.gate import Reason
from sloctl.board import BreakerCommand, Phase
from sloctl.serving.errors import _REASONS, RequestError
from sloctl.serving.http import _error
from sloctl.serving.rpc.messages import classes, service
from sloctl.serving.rpc.refusals import trailers
from sloctl.serving.rpc.server import RpcServer
from sloctl.telemetry import catalogue as c

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/refusals.md"
ROW = re.compile(r"^\| `(\w+)` \| (\d+) \| (\w+) \| `?(\w*)`? ?\| (yes|no) \|", re.MULTILINE)
ROWS = [
    (reason, int(http), rpc, outcome, again == "yes")
    for reason, http, rpc, outcome, again in ROW.findall(PAGE.read_text())
]


@dataclass
class Scene:
    """How a bench comes to refuse: what is done to it (before it loads, if `unloaded`), and what is asked of it."""

    act: Callable[[Any], Any] = lambda _: None
    parameters: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    value: float = 1.0
    model: str = "m"
    place: dict[str, Any] = field(default_factory=dict)  # parameters of the input
    classify: dict[str, Any] = field(default_factory=dict)  # parameters of the output
    unloaded: bool = False


async def fill(bench: Any) -> None:
    """A run that does not come back, and a queue of one that is full."""
    bench.in_threads()
    bench.engines["fp32"].go.clear()
    bench.waiting = []
    for held in (lambda: bench.model._lane.jobs, lambda: bench.model._queues.length):
        bench.waiting.append(asyncio.ensure_future(bench.infer(1)))
        while not held():  # noqa: ASYNC110  nobody sets an event for what it looks at
            await asyncio.sleep(0.001)


async def release(bench: Any) -> None:
    bench.engines["fp32"].go.set()
    await asyncio.gather(*getattr(bench, "waiting", ()))


def spend(bench: Any) -> None:
    assert bench.plane.tenants.find("default", bench.plane.clock()).spend(bench.plane.clock()) == 0


def trip(bench: Any) -> None:
    bench.word(breaker=BreakerCommand.FORCE_OPEN, breaker_sequence=1)


def phase(name: Phase) -> Callable[[Any], None]:
    return lambda bench: setattr(bench.plane, "phase", name)


def fail(bench: Any) -> None:
    bench.engines["fp32"].fail = "boom"


def hang(bench: Any) -> None:
    for variant in bench.model.variants:
        variant.hung_since = 0.0


def stumble(bench: Any) -> None:
    def mistake(*_: Any) -> None:
        raise RuntimeError("a mistake of ours")

    bench.model.enqueue = mistake


def spoil(bench: Any) -> None:
    bench.hosting.broken.update({(variant, "context"): "no" for variant in bench.engines})


SCENES = {
    "overloaded": Scene(fill, config={"maxQueue": 1, "maxBatch": 1}),
    "rate_limited": Scene(spend, config={"tenants": {"rate": 0.001, "burst": 1}}),
    "shed": Scene(lambda bench: bench.word(admit=(0.0, 0.0, 0.0))),
    "deadline": Scene(parameters={"timeout": 1}),
    "breaker_open": Scene(trip),
    "draining": Scene(phase(Phase.DRAINING)),
    "starting": Scene(phase(Phase.STARTING)),
    "restarting": Scene(lambda bench: setattr(bench.plane, "ending", "the device is lost")),
    "no_variant": Scene(spoil, unloaded=True),
    "engine_error": Scene(fail),
    "engine_hangs": Scene(hang),
    "nonfinite": Scene(value=13.0),
    "internal": Scene(stumble),
    "invalid": Scene(parameters={"priority": -1}),
    "forbidden": Scene(place={"shared_memory_region": "r", "shared_memory_byte_size": 16}),
    "unknown_tenant": Scene(config={"tenants": {"unnamed": "refuse"}}),
    "unsupported": Scene(classify={"classification": 2}),
    "not_found": Scene(model="nobody"),
}


async def arrange(make: Callable[..., Any], scene: Scene) -> Any:
    bench = make(**scene.config)
    if scene.unloaded:
        scene.act(bench)
    await bench.load()
    if not scene.unloaded and inspect.isawaitable(acting := scene.act(bench)):
        await acting
    return bench


async def over_http(bench: Any, scene: Scene) -> Any:
    given = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": scene.place}
    if not scene.place:
        given["data"] = [scene.value] * 4
    outputs = [{"name": "y", "parameters": scene.classify}]
    body = {"inputs": [given], "outputs": outputs, "parameters": scene.parameters}
    return await bench.call("POST", f"/v2/models/{scene.model}/infer", json.dumps(body).encode())


def typed(parameters: dict[str, Any]) -> dict[str, Any]:
    return {n: {"string_param" if isinstance(v, str) else "int64_param": v} for n, v in parameters.items()}


async def over_grpc(bench: Any, scene: Scene) -> grpc.aio.AioRpcError:
    server = RpcServer(bench.plane, "127.0.0.1:0", 1 << 20)
    await server.start()
    infer = service("inference.GRPCInferenceService").methods_by_name["ModelInfer"]
    given, made = classes(infer)
    request = given(
        model_name=scene.model,
        inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": typed(scene.place)}],
        outputs=[{"name": "y", "parameters": typed(scene.classify)}],
        parameters=typed(scene.parameters),
        raw_input_contents=[] if scene.place else [np.full(4, scene.value, np.float32).tobytes()],
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=given.SerializeToString,
            response_deserializer=made.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(request)
    await server.stop()
    return caught.value


def details(told: dict[str, Any]) -> tuple[Status, ErrorInfo, RetryInfo | None]:
    rich = Status.FromString(told["grpc-status-details-bin"])
    info, retry = ErrorInfo(), RetryInfo()
    assert rich.details[0].Unpack(info)
    return rich, info, retry if len(rich.details) > 1 and rich.details[1].Unpack(retry) else None


def test_the_page_has_a_row_for_each_scene_and_each_reason_of_the_gate() -> None:
    documented = {row[0] for row in ROWS}
    assert documented == set(SCENES)
    assert {reason.value for reason in Reason} <= documented
    assert {row[3] for row in ROWS} - {""} == set(c.OUTCOMES) - {"ok", "cancelled"}


@pytest.mark.parametrize(("reason", "http", "rpc", "outcome", "again"), ROWS, ids=[row[0] for row in ROWS])
async def test_the_server_does_what_the_page_says(
    make: Callable[..., Awaitable[Any]], reason: str, http: int, rpc: str, outcome: str, again: bool
) -> None:
    scene = SCENES[reason]
    bench = await arrange(make, scene)

    answer = await over_http(bench, scene)
    body = json.loads(answer.body)
    assert (answer.status, body["reason"]) == (http, reason), body
    assert set(body) == {"error", "reason", *(["retry_after"] if again else [])}

    error = await over_grpc(bench, scene)
    told = dict(error.trailing_metadata())
    rich, info, retry = details(told)
    assert (error.code(), told["sloctl-reason"]) == (grpc.StatusCode[rpc], reason), error
    assert (rich.code, rich.message) == (error.code().value[0], error.details())
    assert (info.reason, info.domain) == (reason.upper(), "sloctl")
    assert (retry is not None) == ("grpc-retry-pushback-ms" in told) == ("retry-after" in answer.headers) == again

    counted = {
        each: sum(bench.scalar(c.REQUESTS, "m", p, each) for p in bench.board.topology.priorities)
        for each in c.OUTCOMES
    }
    assert counted == {each: 2 * (each == outcome) for each in c.OUTCOMES}
    await release(bench)


@given(st.floats(0.001, 1e6))
def test_every_form_of_the_time_to_wait_is_the_same_and_never_too_short(seconds: float) -> None:
    error = RequestError(503, "", reason="overloaded", retry_after=seconds)
    headers, body = _error(error)
    found = dict(headers)
    exact = int(found[b"retry-after-ms"])
    assert seconds <= exact / 1000 < seconds + 0.0011
    assert json.loads(body)["retry_after"] == exact / 1000
    assert exact <= int(found[b"retry-after"]) * 1000 < exact + 1000
    told = dict(trailers(error))
    retry = details(told)[2]
    assert retry is not None
    assert int(told["grpc-retry-pushback-ms"]) == retry.retry_delay.ToMilliseconds() == exact


async def test_a_stream_tells_reason_and_time_with_the_answer(make: Callable[..., Awaitable[Any]]) -> None:
    bench = await arrange(make, SCENES["breaker_open"])
    server = RpcServer(bench.plane, "127.0.0.1:0", 1 << 20)
    await server.start()
    given, made = classes(service("inference.GRPCInferenceService").methods_by_name["ModelStreamInfer"])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        make_stream = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=given.SerializeToString,
            response_deserializer=made.FromString,
        )
        stream = make_stream()
        await stream.write(given(model_name="m", id="7"))
        answer = await stream.read()
        await stream.done_writing()
    await server.stop()
    told = answer.infer_response.parameters
    assert (answer.infer_response.id, told["sloctl_reason"].string_param) == ("7", "breaker_open")
    assert told["sloctl_retry_after_ms"].int64_param > 0
    assert "breaker_open" in answer.error_message


async def test_grpcs_own_retries_come_when_the_server_said(make: Callable[..., Awaitable[Any]]) -> None:
    """Its own backoff would be over long before the breaker lets a call pass, and there is but one retry."""
    bench = await arrange(make, Scene(config={"breaker": {"waitDurationInOpenState": "300ms"}}))
    server = RpcServer(bench.plane, "127.0.0.1:0", 1 << 20)
    await server.start()
    policy = {"maxAttempts": 2, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1}
    method = {"name": [{}], "retryPolicy": {**policy, "retryableStatusCodes": ["UNAVAILABLE"]}}
    options = [("grpc.service_config", json.dumps({"methodConfig": [method]}))]
    given, made = classes(service("inference.GRPCInferenceService").methods_by_name["ModelInfer"])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
        infer = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=given.SerializeToString,
            response_deserializer=made.FromString,
        )
        request = given(
            model_name="m",
            inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 4]}],
            raw_input_contents=[bytes(16)],
        )
        bench.word(breaker=BreakerCommand.TRIP, breaker_sequence=1)
        assert (await infer(request)).model_name == "m"
    await server.stop()
    assert [bench.scalar(c.REQUESTS, "m", "normal", outcome) for outcome in ("breaker_open", "ok")] == [1, 1]


def test_the_page_names_every_reason_that_the_code_gives() -> None:
    """Those that no scene brings about, too: of HTTP alone, of health, of shared memory."""
    source = "\n".join(path.read_text() for path in (ROOT / "sloctl/serving").rglob("*.py"))
    given_there = re.findall(r"""(?:unavailable|failed)\(\s*"(\w+)"|\breason="(\w+)\"""", source)
    reasons = {one or other for one, other in given_there} | set(_REASONS.values()) - {"cancelled"}
    assert {"starting", "internal", "too_large", "not_ready"} <= reasons, "the search finds what is there"
    assert {reason for reason in reasons if f"`{reason}`" not in PAGE.read_text()} == set()
