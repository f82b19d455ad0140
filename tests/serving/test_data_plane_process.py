"""The process itself, with a tiny ONNX model, driven by Triton's own client and by plain HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.http as triton
from onnx import TensorProto, helper, numpy_helper

from sloctl.board import Board, Fault, LevelState, Phase
from sloctl.config.daemon import DaemonConfig
from sloctl.config.runtime import Runtime
from sloctl.engines.manifest import write_manifest
from sloctl.engines.measure import make_manifest
from sloctl.engines.onnx import OnnxEngine
from sloctl.telemetry import catalogue as c

pytestmark = pytest.mark.integration
WEIGHTS = np.arange(16, dtype=np.float32).reshape(4, 4) / 16


def write_variant(folder: Path, factor: float) -> None:
    folder.mkdir(parents=True)
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 4]) for n in "xy")
    weights = numpy_helper.from_array(WEIGHTS * np.float32(factor), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "m", [given], [made], [weights])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    engine = OnnxEngine(path, max_batch=8)
    write_manifest(folder, make_manifest(path, engine, precision="fp32", runtime="onnxruntime", device_name="test"))


@dataclass
class Plane:
    board: Board
    process: subprocess.Popen[bytes]
    port: int

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def infer(self) -> tuple[int, dict[str, str], bytes]:
        body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
        return self.request("POST", "/v2/models/m/infer", json.dumps(body).encode())

    def word(self, **changes) -> None:
        cell = self.board.control("m")
        cell.write(replace(cell.read(), **changes))

    def until(self, condition: Callable[[], bool], patience: float = 20.0) -> None:
        end = time.monotonic() + patience
        while not condition():
            assert self.process.poll() is None, "the process ended"
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.02)

    def ready(self) -> bool:
        return self.request("GET", "/v2/health/ready")[0] == 200


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Plane]]:
    started: list[tuple[Plane, socket.socket]] = []

    def begin(damage: Callable[[Path], None] | None = None) -> Plane:
        for factor, variant in ((1.0, "fp32"), (2.0, "int8")):
            write_variant(tmp_path / "repository" / "m" / variant, factor)
        if damage is not None:
            damage(tmp_path / "repository" / "m")
        raw = {
            "apiVersion": "sloctl/v1",
            "kind": "Daemon",
            "faultInjection": True,
            "serving": {"drainTimeout": "5s"},
            "models": [{"name": "m", "variants": ["fp32", "int8"]}],
        }
        runtime = Runtime.resolve(DaemonConfig.model_validate(raw), tmp_path / "sloctl.yaml", (0.025,))
        board = Board.create(runtime.topology)
        config = os.memfd_create("config", 0)
        os.write(config, runtime.to_json().encode())
        sock = socket.create_server(("127.0.0.1", 0))
        fds = {"runtime": config, "board": board.fd, "http": sock.fileno()}
        flags = [word for name, fd in fds.items() for word in (f"--{name}-fd", str(fd))]
        command = [sys.executable, "-m", "sloctl.serving", *flags]
        process = subprocess.Popen(command, pass_fds=list(fds.values()), stderr=subprocess.DEVNULL)
        os.close(config)
        plane = Plane(board, process, sock.getsockname()[1])
        started.append((plane, sock))
        return plane

    yield begin
    for plane, sock in started:
        plane.process.kill()
        plane.process.wait()
        sock.close()
        os.close(plane.board.fd)


def test_tritons_client_finds_everything_it_asks_for(start):
    plane = start()
    plane.until(plane.ready)
    with triton.InferenceServerClient(f"127.0.0.1:{plane.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("m")
        assert client.get_server_metadata()["name"] == "sloctl"
        assert client.get_model_metadata("m")["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]
        assert client.get_model_config("m")["max_batch_size"] == 8
        assert client.get_model_repository_index()[0]["state"] == "READY"
        rows = np.random.default_rng(1).random((3, 4), dtype=np.float32)
        for binary_in in (True, False):
            for binary_out in (True, False):
                given = triton.InferInput("x", [3, 4], "FP32")
                given.set_data_from_numpy(rows, binary_data=binary_in)
                wants = [triton.InferRequestedOutput("y", binary_data=binary_out)]
                result = client.infer("m", [given], outputs=wants, request_id="7", priority=1, timeout=5_000_000)
                assert np.allclose(result.as_numpy("y"), rows @ WEIGHTS, rtol=1e-5)
                response = result.get_response()
                assert (response["id"], response["parameters"]["sloctl_variant"]) == ("7", "fp32")
        stats = client.get_inference_statistics("m")["model_stats"][0]
        assert stats["inference_count"] == 12
        assert stats["inference_stats"]["success"]["count"] == 4
        with pytest.raises(triton.InferenceServerException, match="no model 'absent'"):
            client.infer("absent", [given])
    assert plane.board.snapshot().scalar(c.REQUESTS, "m", "high", "ok") == 4


def test_it_warms_profiles_switches_and_beats(start):
    plane = start()
    plane.until(lambda: plane.board.data_status.read().phase is Phase.RUNNING)
    snapshot = plane.board.snapshot()
    for variant in ("fp32", "int8"):
        assert snapshot.scalar(c.VARIANT_CAPACITY, "m", variant) > 1000
        for level in c.HEALTH_LEVELS:
            assert plane.board.health("m", variant, level).read().state is LevelState.PASSING
    assert plane.infer()[1]["sloctl-variant"] == "fp32"
    plane.word(variant=1)
    plane.until(lambda: plane.board.snapshot().scalar(c.SERVING_VARIANT, "m", "int8") == 1)
    status, headers, body = plane.infer()
    assert (status, headers["sloctl-variant"]) == (200, "int8")
    expected = np.float32([1, 2, 3, 4]) @ WEIGHTS * 2
    assert np.allclose(json.loads(body)["outputs"][0]["data"], expected)
    plane.until(lambda: plane.board.snapshot().scalar(c.PROFILES, "m", "int8") >= 1)
    assert plane.board.snapshot().layers("m", "fp32")
    reading = plane.board.data_status.read()
    assert reading.pid == plane.process.pid
    assert reading.alive(time.monotonic(), 1.0)


def test_sigterm_drains_what_is_in_flight_and_exits_cleanly(start):
    plane = start()
    plane.until(plane.ready)
    plane.word(faults=Fault.SLOW)
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(plane.infer()[0]))
    idle = http.client.HTTPConnection("127.0.0.1", plane.port, timeout=10)
    idle.request("GET", "/v2/health/live")
    idle.getresponse().read()
    thread.start()
    plane.until(lambda: plane.board.snapshot().scalar(c.INFLIGHT, "m") == 1)
    plane.process.send_signal(signal.SIGTERM)
    plane.until(lambda: plane.board.data_status.read().phase is Phase.DRAINING)
    idle.request("POST", "/v2/models/m/infer", b"{}")
    refused = idle.getresponse()
    assert (refused.status, json.loads(refused.read())["reason"]) == (503, "draining")
    idle.close()
    thread.join(10)
    assert answers == [200]
    assert plane.process.wait(10) == 0


def test_a_hung_engine_does_not_keep_it_from_living_or_ending(start):
    plane = start()
    plane.until(plane.ready)
    plane.word(faults=Fault.HANG)
    time.sleep(0.25)  # until the plane has surely read the word
    assert plane.infer()[0] == 500
    assert plane.request("GET", "/v2/health/live")[0] == 200
    assert plane.board.data_status.read().alive(time.monotonic(), 0.5)
    plane.process.send_signal(signal.SIGTERM)
    assert plane.process.wait(10) == 0


def test_a_truncated_model_is_named_and_the_other_variant_serves(start):
    def truncate(model: Path) -> None:
        file = model / "fp32" / "model.onnx"
        file.write_bytes(file.read_bytes()[:-10])

    plane = start(truncate)
    plane.until(plane.ready)
    assert plane.infer()[1]["sloctl-variant"] == "int8"
    reading = plane.board.health("m", "fp32", "model").read()
    assert (reading.state, "truncated" in reading.message) == (LevelState.FAILING, True)


def test_without_a_manifest_it_stays_up_not_ready_and_says_why(start):
    def remove(model: Path) -> None:
        for variant in ("fp32", "int8"):
            (model / variant / "manifest.yaml").unlink()

    plane = start(remove)
    plane.until(lambda: plane.board.data_status.read().phase is Phase.RUNNING)
    status, _, body = plane.request("GET", "/v2/health/ready")
    assert status == 503
    assert "manifest.yaml" in json.loads(body)["error"]
    assert plane.infer()[0] == 503
    assert "manifest.yaml" in plane.board.health("m", "fp32", "model").read().message


def test_a_client_that_hangs_up_halfway_is_counted_and_others_are_served(start):
    plane = start()
    plane.until(plane.ready)
    with socket.create_connection(("127.0.0.1", plane.port)) as sock:
        sock.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
    plane.until(lambda: plane.board.snapshot().scalar(c.REQUESTS, "m", "normal", "cancelled") == 1)
    plane.word(faults=Fault.SLOW)
    time.sleep(0.25)
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1] * 4}]}).encode()
    occupied = threading.Thread(target=plane.infer)
    occupied.start()
    plane.until(lambda: plane.board.snapshot().scalar(c.INFLIGHT, "m") == 1)
    with socket.create_connection(("127.0.0.1", plane.port)) as sock:
        head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        plane.until(lambda: plane.board.snapshot().scalar(c.INFLIGHT, "m") == 2)
    occupied.join(10)
    plane.until(lambda: plane.board.snapshot().scalar(c.REQUESTS, "m", "normal", "cancelled") == 2)
    assert plane.board.snapshot().scalar(c.EXECUTED_REQUESTS, "m") == 1, "it did not run for nobody"
    plane.word(faults=Fault.NONE)
    time.sleep(0.25)
    assert plane.infer()[0] == 200
