"""The daemon over gRPC, met by Triton's own client."""

import os
import re
import signal
import socket
import threading

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from running_daemon import until
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as shm

pytestmark = pytest.mark.integration
ROWS = np.arange(32, dtype=np.float32).reshape(2, 16)


def port(daemon):
    return int(re.search(r"gRPC on 127\.0\.0\.1:(\d+)", daemon.output)[1])


@pytest.fixture
def connect():
    made = []

    def client(daemon):
        made.append(triton.InferenceServerClient(f"127.0.0.1:{port(daemon)}"))
        return made[-1]

    yield client
    for each in made:
        each.close()


def ready(client):
    try:
        return client.is_server_ready()
    except InferenceServerException:
        return False


def infer_until_refused(client):
    for _ in range(10_000):
        client.infer("tiny", given())


def given():
    x = triton.InferInput("x", [2, 16], "FP32")
    x.set_data_from_numpy(ROWS)
    return [x]


def test_tritons_client_is_answered_and_counted_with_those_of_http(daemon, connect):
    served = daemon()
    client = connect(served)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    result = client.infer("tiny", given(), outputs=[triton.InferRequestedOutput("y")], request_id="a", priority=1)
    np.testing.assert_allclose(result.as_numpy("y"), ROWS * 2)
    assert result.get_response().parameters["sloctl_variant"].string_param == "exact"
    served.wait_metric(1, "sloctl_requests_total", model="tiny", priority="high", outcome="ok")
    assert served.infer()[0] == 200
    stats = client.get_inference_statistics("tiny", as_json=True)["model_stats"][0]
    assert stats["inference_stats"]["success"]["count"] == "2"
    assert client.get_model_metadata("tiny").inputs[0].name == "x"
    assert client.get_model_config("tiny", as_json=True)["config"]["max_batch_size"] == 4
    assert client.get_server_metadata().name == "sloctl"
    assert client.get_model_repository_index().models[0].state == "READY"


def test_refusals_carry_status_and_reason(shared, connect):
    client = connect(shared())
    with pytest.raises(InferenceServerException, match="no model 'nobody'") as caught:
        client.infer("nobody", given())
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException) as caught:
        client.load_model("tiny")
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_a_stream_answers_in_order(shared, connect):
    client = connect(shared())
    answers = []
    done = threading.Event()

    def answered(result, error):
        answers.append(error or result.get_response().id)
        if len(answers) == 50:
            done.set()

    client.start_stream(answered)
    for number in range(50):
        client.async_stream_infer("tiny", given(), request_id=str(number))
    assert done.wait(20)
    client.stop_stream()
    assert answers == [str(number) for number in range(50)]


def test_shared_memory_registered_over_grpc_is_there_over_http_and_after_a_crash(daemon, connect):
    served = daemon(serving={"port": 0, "sharedMemory": True})
    client = connect(served)
    region = shm.create_shared_memory_region("own", "sloctl-grpc-test", 256)
    try:
        shm.set_shared_memory_region(region, [ROWS])
        client.register_system_shared_memory("own", "sloctl-grpc-test", 256)
        os.kill(served.pid("data"), signal.SIGKILL)
        until(lambda: ready(client), 20, "it is back on the same port")
        x, y = triton.InferInput("x", [2, 16], "FP32"), triton.InferRequestedOutput("y")
        x.set_shared_memory("own", 128)
        y.set_shared_memory("own", 128, 128)
        client.infer("tiny", [x], outputs=[y])
        np.testing.assert_allclose(shm.get_contents_as_numpy(region, np.float32, [2, 16], 128), ROWS * 2)
        assert list(client.get_system_shared_memory_status().regions) == ["own"]
        client.unregister_system_shared_memory()
    finally:
        shm.destroy_shared_memory_region(region)


def test_a_port_that_is_taken_is_refused_by_its_field(serve_fails):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        code, said = serve_fails(serving={"port": 0, "grpcPort": number})
    assert code == 3
    assert f"cannot listen on 127.0.0.1:{number}" in said
    assert "serving.grpcPort" in said


def test_it_stops_with_refusals_and_not_with_cut_connections(daemon, connect):
    served = daemon()
    client = connect(served)
    client.infer("tiny", given())
    served.process.send_signal(signal.SIGTERM)
    with pytest.raises(InferenceServerException) as caught:
        infer_until_refused(client)
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
    assert served.process.wait(20) == 0


def test_without_grpc_there_is_no_port(daemon):
    served = daemon(serving={"port": 0, "grpc": False})
    assert "gRPC on" not in served.output
    assert served.infer()[0] == 200


def test_kubernetes_can_ask_grpcs_own_health_service(shared):
    served = shared()
    with grpc.insecure_channel(f"127.0.0.1:{port(served)}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=5) == b"\x08\x01"  # status: SERVING
