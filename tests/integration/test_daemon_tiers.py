"""Two variants at once, by class and by request, through a daemon over HTTP and gRPC."""

import json
import re
import time

import numpy as np
import pytest
import tritonclient.grpc as triton
from running_daemon import BODY, IDLE_POLICY, MODEL, request, until
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.integration
HIGH, LOW = 1, 3
TIERED_POLICY = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: tiered}
spec:
  model: tiny
  ladder: [exact, rough]
  accuracyFloor: 0.9
  dwell: 100ms
  cooldown: 200ms
  rules:
    - name: cheap
      when: offered("low") > 5
      until: offered("low") < 1
      action: {tiers: {low: rough}}
"""


@pytest.fixture
def served(shared):
    daemon = shared(models=[{**MODEL, "clientPrecision": ["high", "low"]}])
    for held in daemon.get("/api/v1/overrides")[1]["overrides"]:
        daemon.cli("override", "--clear", str(held["id"]))
    take_policy(daemon, IDLE_POLICY)
    until(lambda: not daemon.status()["models"][0]["tiers"], 5, "no tier is left")
    return daemon


@pytest.fixture
def grpc(served):
    port = re.search(r"gRPC on 127\.0\.0\.1:(\d+)", served.output)[1]
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        yield client


def take_policy(daemon, text):
    (daemon.config.parent / "policy.yaml").write_text(text)
    assert daemon.post("/api/v1/reload", {})[0] == 200


def of(priority, **parameters):
    return {**BODY, "parameters": {"priority": priority, **parameters}}


def over_http(daemon, priority, headers=None, **parameters):
    status, answered, body = request(
        daemon.serving, "POST", "/v2/models/tiny/infer", of(priority, **parameters), headers
    )
    assert status == 200, body
    assert json.loads(body)["outputs"][0]["data"] == [2.0 * value for value in range(16)]
    return answered["sloctl-variant"]


def over_grpc(client, priority, **more):
    x = triton.InferInput("x", [1, 16], "FP32")
    x.set_data_from_numpy(np.arange(16, dtype=np.float32).reshape(1, 16))
    answer = client.infer("tiny", [x], priority=priority, **more)
    assert answer.as_numpy("y").tolist() == [[2.0 * value for value in range(16)]]
    return answer.get_response().parameters["sloctl_variant"].string_param


def test_two_classes_are_served_by_two_variants_over_http_and_grpc(served, grpc, monkeypatch):
    done = served.cli("override", "tiny", "--tier", "low=rough", "--expires", "10m")
    assert done.returncode == 0, done.stderr
    until(lambda: over_http(served, LOW) == "rough", 5, "the override is in force")
    assert [over_http(served, HIGH), over_grpc(grpc, HIGH), over_grpc(grpc, LOW)] == ["exact", "exact", "rough"]
    served.wait_metric(1, "sloctl_class_variant", priority="low", variant="rough")
    assert served.metric("sloctl_class_variant", priority="high", variant="exact") == 1
    assert served.metric("sloctl_serving_variant", variant="exact") == 1, "the model's stays"
    (model,) = served.status()["models"]
    assert (model["variant"], model["tiers"]) == ("exact", {"low": {"wanted": "rough", "variant": "rough"}})
    monkeypatch.setenv("COLUMNS", "200")
    assert "exact low rough" in served.cli("status").stdout
    assert "tiers = {'low': 'rough'}" in served.cli("override").stdout


def test_requests_choose_by_parameters_and_headers_over_both_transports(served, grpc):
    assert over_http(served, LOW, sloctl_precision="rough") == "rough"
    assert over_http(served, LOW, {"x-sloctl-precision": "rough"}) == "rough"
    assert over_grpc(grpc, LOW, parameters={"sloctl_precision": "rough"}) == "rough"
    assert over_grpc(grpc, LOW, headers={"x-sloctl-precision": "rough"}) == "rough"
    assert served.cli("override", "tiny", "--variant", "rough").returncode == 0
    until(lambda: over_http(served, HIGH) == "rough", 5, "rough serves")
    assert over_http(served, HIGH, sloctl_min_accuracy=0.98) == "exact"
    assert over_http(served, HIGH, {"x-sloctl-min-accuracy": "0.98"}) == "exact"
    assert over_http(served, HIGH, sloctl_min_accuracy=0.97) == "rough"
    assert over_grpc(grpc, HIGH, headers={"x-sloctl-min-accuracy": "0.98"}) == "exact"


def test_what_cannot_be_met_is_refused_in_words_over_both_transports(served, grpc):
    status, _, body = request(served.serving, "POST", "/v2/models/tiny/infer", of(LOW, sloctl_min_accuracy=0.999))
    said = json.loads(body)
    assert (status, said["reason"]) == (400, "invalid")
    assert said["error"] == "no variant has an accuracy of 0.999; the most accurate one has 0.99"
    with pytest.raises(InferenceServerException, match="there is no variant 'best'; there is exact, rough") as caught:
        over_grpc(grpc, LOW, parameters={"sloctl_precision": "best"})
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    status, _, body = request(served.serving, "POST", "/v2/models/tiny/infer", of(2, sloctl_precision="exact"))
    assert status == 403
    assert "does not let these requests choose" in json.loads(body)["error"]


def test_switching_a_class_and_the_model_under_load_fails_nothing(served, load):
    high = load(served, 0.001, of(HIGH))
    low = [load(served, 0.001, of(LOW)) for _ in range(2)]
    pinned = load(served, 0.001, of(LOW, sloctl_precision="exact"))
    begun = time.monotonic()
    while time.monotonic() < begun + 4:
        for kind, value in (("tiers", {"low": "rough"}), ("variant", "rough")):
            made = served.post("/api/v1/overrides", {"model": "tiny", "kind": kind, "value": value, "expires": "10m"})
            time.sleep(0.25)
            assert request(served.control, "DELETE", f"/api/v1/overrides/{made[1]['id']}")[0] < 300
            time.sleep(0.15)
    for each in (high, pinned, *low):
        each.stop()
        assert each.failures == []
    assert set(pinned.variants) == {"exact"}
    changes = [sum(a != b for a, b in zip(each.variants, each.variants[1:], strict=False)) for each in low]
    assert min(changes) >= 4, "they were switched back and forth"
    assert set(high.variants) == {"exact", "rough"}
    share = [each.variants.count("rough") / each.answered for each in (high, low[0])]
    assert share[0] < share[1], "high was not switched by the tier"


def test_a_rule_gives_a_class_its_variant_and_says_so(served, load):
    take_policy(served, TIERED_POLICY)
    clients = [load(served, 0.002, of(LOW)), load(served, 0.002, of(HIGH))]
    until(lambda: served.status()["models"][0]["tiers"].get("low", {}).get("variant") == "rough", 10, "the tier")
    until(lambda: clients[0].variants[-1:] == ["rough"], 5, "low is served with it")
    clients[0].stop()
    clients[1].stop()
    assert set(clients[1].variants) == {"exact"}
    assert clients[0].failures == clients[1].failures == []
    until(lambda: not served.status()["models"][0]["tiers"], 10, "the load is over")
    found = [d for d in served.get("/api/v1/decisions")[1]["decisions"] if d["policy"] == "tiered"]
    told = [(d["rule"], d["action"], d["before"], d["after"]) for d in found[::-1]]
    assert told == [
        ("cheap", "tier:down", "low: exact", "low: rough"),
        ("cheap", "tier:up", "low: rough", "low: exact"),
    ]
    said = served.cli("explain", str(found[1]["id"])).stdout
    assert "low: exact → low: rough" in said
    assert "in `when` of cheap" in said
    assert served.metric("sloctl_decisions_total", rule="cheap", action="tier:down") == 1
