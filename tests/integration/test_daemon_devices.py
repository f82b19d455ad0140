"""Several data planes behind one port: they share the work, one may fail, and the numbers are of all."""

import http.client
import json
import os
import signal

import pytest
from running_daemon import BODY, until

pytestmark = pytest.mark.integration

DEVICES = ["cpu", "cpu#2"]


def _up(daemon):
    return {
        dict(labels)["device"]: value
        for (name, labels), value in daemon.metrics().items()
        if name == "sloctl_device_up"
    }


def _pid(daemon, device):
    return next(each["pid"] for each in daemon.get("/health")[1]["devices"] if each["device"] == device)


def _connections(daemon, count):
    made = [http.client.HTTPConnection("127.0.0.1", daemon.serving, timeout=10) for _ in range(count)]
    for connection in made:
        connection.connect()
    return made


def _ask(connection):
    connection.request("POST", "/v2/models/tiny/infer", json.dumps(BODY), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _inodes(pid):
    """Sockets of a process."""
    base = f"/proc/{pid}/fd"
    links = [os.readlink(f"{base}/{fd}") for fd in os.listdir(base)]
    return {link for link in links if link.startswith("socket:")}


@pytest.fixture
def two(daemon):
    served = daemon(devices=["cpu", "cpu"])
    until(lambda: all(_up(served).values()), 20, "both run")
    return served


def test_connections_are_spread_and_counts_are_summed(two):
    pids = [_pid(two, device) for device in DEVICES]
    assert len(set(pids)) == 2
    before = [len(_inodes(pid)) for pid in pids]
    connections = _connections(two, 8)
    assert [_ask(connection) for connection in connections] == [200] * 8
    held = [len(_inodes(pid)) - count for pid, count in zip(pids, before, strict=True)]
    assert sum(held) == 8
    assert min(held) >= 2, held
    two.wait_metric(8, "sloctl_requests_total", model="tiny", outcome="ok")
    assert _up(two) == dict.fromkeys(DEVICES, 1.0)
    for connection in connections:
        connection.close()


def test_one_that_is_killed_leaves_the_other_serving_and_comes_back(two):
    for connection in (made := _connections(two, 6)):
        assert _ask(connection) == 200
        connection.close()
    assert made
    two.wait_metric(6, "sloctl_requests_total", model="tiny", outcome="ok")
    os.kill(_pid(two, "cpu#2"), signal.SIGSTOP)  # it keeps what it has accepted, and beats no more
    os.kill(_pid(two, "cpu#2"), signal.SIGKILL)
    answers = [two.infer()[0] for _ in range(50)]
    assert answers == [200] * 50
    assert two.get("/health/ready")[0] == 200
    until(lambda: two.metric("sloctl_plane_restarts_total", plane="data") == 1, 10, "it is started anew")
    until(lambda: all(_up(two).values()), 20, "both run again")
    two.wait_metric(56, "sloctl_requests_total", model="tiny", outcome="ok")


def test_health_says_which_device_is_down(two):
    os.kill(_pid(two, "cpu"), signal.SIGSTOP)
    until(lambda: _up(two) == {"cpu": 0.0, "cpu#2": 1.0}, 5, "the metric says which")
    found = two.get("/health")[1]
    assert found["ready"]
    assert [device["ready"] for device in found["devices"]] == [False, True]
    assert "heartbeat" in found["devices"][0]["reasons"][0]
    assert "cpu: data plane" in two.cli("status").stdout.replace("\n", " ")
    assert two.infer()[0] == 200
    os.kill(_pid(two, "cpu"), signal.SIGCONT)
    until(lambda: all(_up(two).values()), 10, "both run again")


def test_a_switch_reaches_every_device(two):
    body = {"model": "tiny", "kind": "variant", "value": "rough", "expires": "10m"}
    assert two.post("/api/v1/overrides", body)[0] == 201
    until(lambda: all(d["serving"] == {"tiny": "rough"} for d in two.get("/health")[1]["devices"]), 10, "both switch")
    until(lambda: two.status()["models"][0]["variant"] == "rough", 5, "the model as a whole has switched")


def test_a_variant_may_be_pinned(daemon):
    model = {"name": "tiny", "variants": ["exact", {"name": "rough", "device": "cpu"}], "profile": {"interval": "0s"}}
    served = daemon(models=[model])
    assert served.infer()[0] == 200


def test_stopping_drains_all(two):
    assert two.stop() == 0
