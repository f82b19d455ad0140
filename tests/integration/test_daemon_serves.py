"""The daemon from outside: it starts, answers, counts, and stops without dropping anybody."""

import os
import resource
import shutil
import socket
import threading

import numpy as np
import pytest
import tritonclient.http as triton
from running_daemon import request, until

from sloctl.telemetry.catalogue import OUTCOMES

pytestmark = pytest.mark.integration


def _infer(daemon, *, binary):
    rows = np.arange(32, dtype=np.float32).reshape(2, 16)
    given = triton.InferInput("x", [2, 16], "FP32")
    given.set_data_from_numpy(rows, binary_data=binary)
    client = triton.InferenceServerClient(f"127.0.0.1:{daemon.serving}")
    try:
        result = client.infer("tiny", [given], outputs=[triton.InferRequestedOutput("y", binary_data=binary)])
    finally:
        client.close()
    np.testing.assert_allclose(result.as_numpy("y"), rows * 2)
    return result.get_response()


def test_it_is_ready_only_when_the_variants_are_warm(daemon, repository, tmp_path):
    own = tmp_path / "models"
    shutil.copytree(repository, own)
    manifest = own / "tiny" / "rough" / "manifest.yaml"
    text = manifest.read_text()
    manifest.unlink()
    os.mkfifo(manifest)  # whoever reads it waits until somebody writes
    served = daemon(wait=False, repository=str(own))
    until(lambda: _levels(served, "exact") == ["passing"] * 5, 20, "the first variant is warm")
    status, verdict = served.get("/health/ready")
    assert (status, verdict["reasons"]) == (503, ["data plane: starting"])
    assert served.get("/health/startup")[0] == 503
    assert served.get("/health/live")[0] == 200
    assert request(served.serving, "GET", "/v2/health/ready")[0] == 503
    with manifest.open("w") as pipe:
        (tmp_path / "whole").write_text(text)
        os.replace(tmp_path / "whole", manifest)
        pipe.write(text)
    served.wait_ready(10)
    assert _levels(served, "rough") == ["passing"] * 5
    assert served.get("/health/startup")[0] == 200
    assert request(served.serving, "GET", "/v2/health/ready")[0] == 200


def _levels(served, variant):
    found = {each["variant"]: each["levels"] for each in served.get("/health")[1]["variants"]}
    return [level["state"] for level in found[variant]]


def test_a_v2_client_is_answered_told_the_variant_and_counted(daemon):
    served = daemon()
    for outcome in OUTCOMES:
        assert served.metric("sloctl_requests_total", model="tiny", outcome=outcome) == 0
    for binary in (False, True):
        assert _infer(served, binary=binary)["parameters"]["sloctl_variant"] == "exact"
    status, _, body = request(served.serving, "POST", "/v2/models/tiny/infer", {"inputs": []})
    assert status == 400, body
    served.wait_metric(2, "sloctl_requests_total", model="tiny", outcome="ok")
    served.wait_metric(1, "sloctl_requests_total", model="tiny", outcome="invalid")
    served.wait_metric(4, "sloctl_inferences_total", model="tiny", variant="exact")
    served.wait_metric(2, "sloctl_slo_events_total", slo="tiny-availability")


def test_the_same_is_there_under_tritons_names_unless_turned_off(daemon):
    served = daemon()
    assert served.infer()[0] == 200
    assert served.infer({"inputs": []})[0] == 400
    served.wait_metric(1, "nv_inference_request_success_total", model="tiny", version="1")
    served.wait_metric(1, "nv_inference_request_failure_total", reason="invalid", triton_reason="OTHER")
    assert served.metric("nv_inference_request_duration_us_total", model="tiny") > 0


def test_without_tritons_names_there_are_none(daemon):
    served = daemon(telemetry={"triton": False})
    assert not [name for name, _ in served.metrics() if name.startswith("nv_")]


def test_sigterm_answers_what_is_in_flight_and_exits_with_0(daemon):
    served = daemon(faultInjection=True)
    assert served.post("/api/v1/faults", {"model": "tiny", "faults": ["slow"]})[0] == 200
    answers = []
    callers = [threading.Thread(target=lambda: answers.append(served.infer()[0])) for _ in range(6)]
    for caller in callers:
        caller.start()
    until(lambda: served.metric("sloctl_inflight_requests", model="tiny") > 0, 5, "requests are in flight")
    assert served.stop() == 0
    for caller in callers:
        caller.join(10)
    assert answers == [200] * 6
    assert "Traceback" not in served.output
    for port in (served.serving, served.control):
        with pytest.raises(ConnectionRefusedError):
            request(port, "GET", "/")


def test_the_planes_may_hold_as_many_connections_as_the_system_allows(daemon):
    served = daemon()
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1] % 2**64, 65536)
    for plane in ("data", "control"):
        assert resource.prlimit(served.pid(plane), resource.RLIMIT_NOFILE)[0] >= most


HEAD = b"POST /v2/models/tiny/infer HTTP/1.1\r\nhost: x\r\n"
ENDLESS = {
    "headers": (HEAD, b"x-more: " + b"a" * 4096 + b"\r\n"),
    "a header": (HEAD + b"x-more: ", b"a" * 4096),
    "a path": (b"GET /", b"a" * 4096),
    "a trailer": (HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nx-more: ", b"a" * 4096),
}


@pytest.mark.parametrize("what", ENDLESS)
@pytest.mark.parametrize("plane", ["serving", "control"])
def test_a_request_whose_head_does_not_end_is_cut_off(shared, plane, what):
    served = shared()
    begin, more = ENDLESS[what]
    with socket.create_connection(("127.0.0.1", getattr(served, plane)), timeout=20) as client:
        client.sendall(begin)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            client.sendall(more * 16384)  # 64 MiB, should nothing end it
    assert served.infer()[0] == 200


def test_large_heads_within_the_bound_and_bodies_in_small_parts_are_answered(shared):
    served = shared()
    assert request(served.serving, "GET", "/v2", headers={"x-more": "a" * 30_000})[0] == 200
    body = b'{"inputs": []}' + b" " * 30_000
    with socket.create_connection(("127.0.0.1", served.serving), timeout=20) as client:
        client.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        client.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
