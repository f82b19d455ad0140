"""Health from outside, under injected faults: who is told what, who gets a new process, and how all come back."""

import json
import os
import shutil
import signal
import sqlite3
import threading
import urllib.request
from contextlib import closing

import pytest
from running_daemon import IDLE_POLICY, MODEL, request, until

pytestmark = pytest.mark.integration

HEALTH = {"interval": "500ms", "timeout": "300ms", "hangLimit": "1s"}
RESTARTS = "sloctl_plane_restarts_total"


@pytest.fixture
def served(daemon):
    return daemon(faultInjection=True, health=HEALTH)


def _fault(served, *names):
    assert served.post("/api/v1/faults", {"model": "tiny", "faults": names})[0] == 200


def _levels(served, variant):
    found = served.get("/health")[1]["variants"]
    return {level["level"]: level for each in found if each["variant"] == variant for level in each["levels"]}


@pytest.mark.parametrize(("fault", "reason"), [("sticky", "device_lost"), ("hang", "engine_hangs")])
def test_where_only_a_new_process_helps_there_is_one_and_all_can_see_why(served, fault, reason):
    old = served.pid("data")
    _fault(served, fault)
    until(lambda: served.metric(RESTARTS, plane="data", reason=reason) >= 1, 15, "a new data plane")
    _fault(served)
    served.wait_ready(20)
    assert served.pid("data") != old
    assert served.infer()[0] == 200
    assert served.metric(RESTARTS, plane="data", reason="signal") == 0
    told = served.get("/health")[1]["dataPlane"]
    assert told["lastEnd"].startswith(f"{reason}: ")
    assert told["restarts"][reason] >= 1
    assert f"why='{reason}: " in served.output or f'"why": "{reason}: ' in served.output


def test_the_process_that_must_end_refuses_with_the_reason(served):
    _fault(served, "sticky")

    def refused():
        status, _, body = served.infer()
        return status == 503 and json.loads(body)["reason"] == "restarting" and json.loads(body)["error"]

    assert "the device is lost" in until(refused, 10, "requests are refused with the reason")
    _fault(served)
    served.wait_ready(20)


def test_lost_monitoring_is_told_and_everything_goes_on(served):
    _fault(served, "nvml")
    until(lambda: _levels(served, "exact")["device"]["state"] == "degraded", 10, "the device level says so")
    assert "NVML" in _levels(served, "exact")["device"]["message"]
    assert served.get("/health/ready")[0] == 200
    assert request(served.serving, "GET", "/v2/health/ready")[0] == 200
    _fault(served)
    until(lambda: _levels(served, "exact")["device"]["state"] == "passing", 10, "it is back")


def _variant(served):
    return served.infer()[1]["sloctl-variant"]


def test_a_damaged_variant_is_left_with_a_reason_and_returned_to_once_it_is_mended(daemon, repository, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(repository, own)
    policy = IDLE_POLICY.replace("  rules: []", "  cooldown: 200ms\n  rules: []")
    served = daemon(repository=str(own), policy=policy, health=HEALTH)
    model = own / "tiny" / "exact" / "model.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    os.kill(served.pid("data"), signal.SIGKILL)
    until(lambda: served.infer()[0] == 200 and _variant(served) == "rough", 15, "the other variant serves")
    until(lambda: "truncated" in _levels(served, "exact")["model"]["message"], 5, "health says why")
    found = until(lambda: served.get("/api/v1/decisions")[1]["decisions"], 5, "a decision is kept")
    assert (found[0]["rule"], found[0]["before"], found[0]["after"]) == ("health", "exact", "rough")
    model.write_bytes(whole)
    until(lambda: _variant(served) == "exact", 15, "the mended variant serves again")
    assert _levels(served, "exact")["inference"]["state"] == "passing"


def test_a_model_that_exceeds_its_memory_budget_is_refused_with_the_arithmetic(daemon):
    served = daemon(wait=False, models=[{**MODEL, "memoryBudget": "64MiB"}], health=HEALTH)
    until(lambda: _levels(served, "exact")["context"]["state"] == "failing", 15, "it is refused")
    message = _levels(served, "exact")["context"]["message"]
    assert "budget 64 MiB" in message
    assert "margin" in message
    status, _, body = served.infer()
    assert (status, json.loads(body)["reason"]) == (503, "no_variant")


def test_health_is_told_while_the_disk_keeps_the_control_plane_waiting(served):
    with closing(sqlite3.connect(served.config.parent / "state/sloctl.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")  # each save now waits for seconds, with the controller's lock in its hands
        until(lambda: _stuck(served), 20, "what needs the lock waits")
        for path in ("ready", "live", "startup", "ready", "live"):
            url = f"http://127.0.0.1:{served.control}/health/{path}"
            with urllib.request.urlopen(url, timeout=2) as answer:
                assert answer.status == 200


def _stuck(served):
    asking = threading.Thread(target=request, args=(served.control, "GET", "/api/v1/overrides"))
    asking.start()
    asking.join(1)
    return asking.is_alive()
