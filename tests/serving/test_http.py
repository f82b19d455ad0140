"""The ASGI callable with a fake engine behind it."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloctl.board import Phase
from sloctl.telemetry import catalogue as c

INFER = "/v2/models/m/infer"
GOOD = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


def body(*inputs, **extra) -> bytes:
    return json.dumps({"inputs": list(inputs or (GOOD,)), **extra}).encode()


def with_(**changes) -> bytes:
    return body({**GOOD, **changes})


def binary(inputs, raw: bytes, **extra):
    text = json.dumps({"inputs": inputs, **extra}).encode()
    return text + raw, {"Inference-Header-Content-Length": str(len(text))}


async def test_answers_json_and_says_which_variant_served(bench):
    response = await bench.call("POST", INFER, body(id="q1"))
    assert response.status == 200
    assert response.headers["sloctl-variant"] == "fp32"
    assert int(response.headers["content-length"]) == len(response.body)
    assert json.loads(response.body) == {
        "model_name": "m",
        "model_version": "1",
        "id": "q1",
        "parameters": {"sloctl_variant": "fp32"},
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [2.0, 4.0, 6.0, 8.0]}],
    }


async def test_answers_binary_tensors_with_binary_tensors(bench):
    values = np.arange(8, dtype=np.float32)
    sent = [{"name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": 32}}]
    raw, headers = binary(sent, values.tobytes(), parameters={"binary_data_output": True})
    response = await bench.call("POST", INFER, raw, headers)
    assert response.status == 200
    length = int(response.headers["inference-header-content-length"])
    assert json.loads(response.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 32}
    assert np.frombuffer(response.body[length:], np.float32).tolist() == (2 * values).tolist()


async def test_an_output_can_be_asked_for_as_binary_by_itself(bench):
    response = await bench.call("POST", INFER, body(outputs=[{"name": "y", "parameters": {"binary_data": True}}]))
    assert response.body.endswith(np.array([2, 4, 6, 8], np.float32).tobytes())


async def test_a_versioned_path_is_the_same_model(bench):
    assert (await bench.call("POST", "/v2/models/m/versions/1/infer", body())).status == 200


async def test_a_body_in_parts_is_put_together(bench):
    whole = body()
    assert (await bench.call("POST", INFER, [whole[:10], whole[10:40], whole[40:]])).status == 200


BAD = [
    pytest.param(b"", "not valid JSON", id="an empty body"),
    pytest.param(b"{", "not valid JSON", id="half a JSON"),
    pytest.param(b"[]", "not an inference request", id="a list"),
    pytest.param(b'{"inputs": 3}', "not an inference request", id="inputs that are no list"),
    pytest.param(b"\xff\xfe", "not valid JSON", id="no UTF-8"),
    pytest.param(b'{"q":' + b"[" * 100_000, "deeply", id="nested without end"),
    pytest.param(json.dumps({"inputs": []}).encode(), "missing input: x", id="no inputs"),
    pytest.param(with_(name="z"), "no input 'z'; the model has x", id="a wrong name"),
    pytest.param(body(GOOD, GOOD), "given twice", id="an input twice"),
    pytest.param(with_(shape=[1, 5]), r"shape \[1, 5\]; the model expects \[-1, 4\]", id="a wrong shape"),
    pytest.param(with_(shape=[4]), "the model expects", id="too few dimensions"),
    pytest.param(with_(shape=[]), "the model expects", id="no dimensions"),
    pytest.param(with_(shape=[-1, 4]), "the model expects", id="a negative size"),
    pytest.param(with_(shape=[0, 4], data=[]), "0 rows; expected 1 to 8", id="no rows"),
    pytest.param(with_(shape=[9, 4], data=[0] * 36), "9 rows; expected 1 to 8", id="more rows than a batch holds"),
    pytest.param(with_(shape=[10**30, 4]), "inference request|values do not fill", id="an absurd size"),
    pytest.param(with_(datatype="INT32"), "'INT32'; the model expects FP32", id="a wrong datatype"),
    pytest.param(with_(datatype="FP31"), "no V2 datatype", id="an unknown datatype"),
    pytest.param(with_(data=[1, 2, 3]), "3 values do not fill", id="too little data"),
    pytest.param(with_(data=None), "null", id="null for data"),
    pytest.param(body({k: v for k, v in GOOD.items() if k != "data"}), "neither data nor", id="no data"),
    pytest.param(body().replace(b"3", b"NaN"), "malformed", id="NaN where JSON has none"),
    pytest.param(body(outputs=[{"name": "q"}]), "no output 'q'; the model has y", id="an unknown output"),
    pytest.param(body(outputs=[{"name": "y"}, {"name": "y"}]), "asked for twice", id="an output twice"),
    pytest.param(body(parameters={"priority": -1}), "priority", id="a negative priority"),
    pytest.param(body(parameters={"priority": "high"}), "priority", id="a priority in words"),
    pytest.param(body(parameters={"timeout": True}), "timeout", id="a timeout that is no number"),
    pytest.param(body(parameters={"binary_data_output": 1}), "true or false", id="a flag that is no flag"),
    pytest.param(with_(parameters={"binary_data_size": 16}), "both data and", id="data in both forms"),
]


async def test_who_has_all_the_time_in_the_world_has_as_much_as_the_model_gives(bench):
    assert (await bench.infer(1, parameters={"timeout": 10**400})).status == 200


@pytest.mark.parametrize(("raw", "words"), BAD)
async def test_bad_requests_are_the_clients_mistake(bench, raw, words):
    response = await bench.call("POST", INFER, raw)
    assert response.status == 400
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(json.loads(response.body)["error"])
    assert bench.scalar(c.REQUESTS, "m", "normal", "invalid") == 1
    assert bench.model.inflight == 0
    assert (await bench.infer(1)).status == 200


def binary_input(size) -> list:
    return [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}]


@pytest.mark.parametrize(
    ("sent", "raw", "words"),
    [
        pytest.param(binary_input(16), b"\0" * 12, "12 bytes are left", id="less than it says"),
        pytest.param(binary_input(16), b"\0" * 20, "4 bytes follow", id="more than it says"),
        pytest.param(binary_input(12), b"\0" * 12, "do not fill", id="less than the shape needs"),
        pytest.param(binary_input(-16), b"\0" * 16, "binary_data_size", id="a negative size"),
        pytest.param(binary_input(1e9), b"\0" * 16, "binary_data_size", id="a size that is no integer"),
        pytest.param(binary_input(2**62), b"\0" * 16, "16 bytes are left", id="an absurd size"),
    ],
)
async def test_bad_binary_tensors_are_the_clients_mistake(bench, sent, raw, words):
    response = await bench.call("POST", INFER, *binary(sent, raw))
    assert response.status == 400
    assert words in json.loads(response.body)["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", "9" * 40, ""])
async def test_a_bad_header_length_is_the_clients_mistake(bench, length):
    response = await bench.call("POST", INFER, body(), {"Inference-Header-Content-Length": length})
    assert response.status == 400
    assert "Inference-Header-Content-Length" in json.loads(response.body)["error"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=80), length=st.none() | st.integers(0, 90))
async def test_arbitrary_bytes_never_make_a_server_error(bench, raw, length):
    headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
    assert (await bench.call("POST", INFER, raw, headers)).status == 400


SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4)
ANY = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*GOOD, "parameters", "outputs", "id"]), ANY)
async def test_any_field_replaced_by_anything_is_answered_without_a_server_error(bench, field, value):
    raw = with_(**{field: value}) if field in GOOD else body(**{field: value})
    assert (await bench.call("POST", INFER, raw)).status in {200, 400}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("POST", "/v2/models/absent/infer", 404, id="a model that there is not"),
        pytest.param("POST", "/v2/models/m/versions/2/infer", 404, id="a version that there is not"),
        pytest.param("GET", "/v2/models/absent", 404, id="metadata of a model that there is not"),
        pytest.param("GET", "/", 404, id="the root"),
        pytest.param("GET", "/v3", 404, id="another protocol"),
        pytest.param("GET", "/v2/models", 404, id="no model named"),
        pytest.param("GET", "/v2/models/m/elsewhere", 404, id="nothing of a model"),
        pytest.param("GET", INFER, 405, id="inference by GET"),
        pytest.param("POST", "/v2/health/ready", 405, id="health by POST"),
        pytest.param("GET", "/v2/repository/index", 405, id="the index by GET"),
        pytest.param("POST", "/v2/repository/models/m/load", 501, id="loading"),
        pytest.param("GET", "/v2/systemsharedmemory/status", 403, id="shared memory where it is off"),
        pytest.param("POST", "/v2/trace/setting", 501, id="tracing"),
    ],
)
async def test_says_what_is_not_there(bench, method, path, status):
    response = await bench.call(method, path)
    assert response.status == status
    assert json.loads(response.body)["error"]
    assert ("allow" in response.headers) == (status == 405)


async def test_refuses_a_body_that_says_it_is_too_large_before_reading_it(make):
    bench = make(max_body=1000)
    await bench.load()
    response = await bench.call("POST", INFER, b"", {"Content-Length": "1001"})
    assert (response.status, response.headers["connection"]) == (413, "close")
    assert "serving.maxBodyBytes is 1000" in json.loads(response.body)["error"]


async def test_refuses_a_body_that_turns_out_too_large(make):
    bench = make(max_body=1000)
    await bench.load()
    response = await bench.call("POST", INFER, [b" " * 600, b" " * 600])
    assert response.status == 413
    assert bench.scalar(c.REQUESTS, "m", "normal", "invalid") == 1


async def test_compressed_bodies_are_refused_by_name(bench):
    assert (await bench.call("POST", INFER, body(), {"Content-Encoding": "gzip"})).status == 415


async def test_a_client_that_stops_halfway_is_counted_and_leaves_nothing_behind(bench):
    assert await bench.call("POST", INFER, body()[:20], hang_up=True) is None
    assert bench.scalar(c.REQUESTS, "m", "normal", "cancelled") == 1
    assert bench.model.inflight == 0
    assert (await bench.infer(1)).status == 200


async def test_refuses_with_a_reason_while_starting_and_draining(make):
    bench = make()
    for phase, reason in ((Phase.STARTING, "starting"), (Phase.DRAINING, "draining")):
        bench.plane.phase = phase
        for method, path in (("POST", INFER), ("GET", "/v2/health/ready"), ("GET", "/v2/models/m/ready")):
            response = await bench.call(method, path, body())
            assert (response.status, json.loads(response.body)["reason"]) == (503, reason)
            assert int(response.headers["retry-after"]) >= 1
        assert (await bench.call("GET", "/v2/health/live")).status == 200
    assert [bench.scalar(c.REQUESTS, "m", "normal", outcome) for outcome in ("unavailable", "draining")] == [1, 1]


async def test_describes_server_and_model(bench):
    server = json.loads((await bench.call("GET", "/v2")).body)
    assert server["name"] == "sloctl"
    model = json.loads((await bench.call("GET", "/v2/models/m")).body)
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    config = json.loads((await bench.call("GET", "/v2/models/m/config")).body)
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert config["max_batch_size"] == 8
    index = json.loads((await bench.call("POST", "/v2/repository/index")).body)
    assert index == [{"name": "m", "version": "1", "state": "READY"}]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/m/ready", "/v2/models/m/versions/1/ready"):
        response = await bench.call("GET", path)
        assert (response.status, response.body) == (200, b"")


async def test_statistics_come_from_the_same_cells_as_the_metrics(bench):
    await bench.infer(1, 2)
    await bench.infer(1)
    await bench.call("POST", INFER, b"")
    for path in ("/v2/models/m/stats", "/v2/models/stats"):
        stats = json.loads((await bench.call("GET", path)).body)["model_stats"][0]
        assert (stats["inference_count"], stats["execution_count"]) == (3, 2)
        assert stats["inference_stats"]["success"]["count"] == 2
        assert stats["inference_stats"]["success"]["ns"] > 0
        assert stats["inference_stats"]["fail"]["count"] == 1
