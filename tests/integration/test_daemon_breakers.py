"""A variant that fails is left by the data plane itself, and comes back gradually; the model's breaker is the last."""

import json

import pytest
from running_daemon import MODEL, Load, until

pytestmark = pytest.mark.integration

MINIMUM, PERMITS = 8, 4
BREAKER = {
    "slidingWindowSize": 16,
    "minimumNumberOfCalls": MINIMUM,
    "waitDurationInOpenState": "500ms",
    "permittedNumberOfCallsInHalfOpenState": PERMITS,
    "recloseRamp": "3s",
}
MODELS = [{**MODEL, "breaker": BREAKER}]
POLICY = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: returns}
spec: {model: tiny, ladder: [exact, rough], dwell: 100ms, cooldown: 1s, rules: []}
"""


def breakers(daemon):
    """The states of the model's breaker and of its variants'."""
    model = daemon.status()["models"][0]
    return (model["breaker"], *(variant["breaker"] for variant in model["variants"]))


def fault(daemon, *faults, **where):
    assert daemon.post("/api/v1/faults", {"model": "tiny", "faults": faults, **where})[0] == 200


@pytest.fixture
def alone(daemon):
    """A daemon whose control plane decides nothing."""
    return daemon(faultInjection=True, models=MODELS, control={"port": 0, "tick": "100ms", "enabled": False})


@pytest.fixture
def clients():
    """Starts several clients of a daemon; they end with the test."""
    running = []

    def start(target, count=3):
        running.extend(Load(target, 0.004) for _ in range(count))
        return running

    yield start
    for each in running:
        each.stop()


def failures(clients):
    return [failure for client in clients for failure in client.failures]


def answered(clients):
    return [variant for client in clients for variant in client.variants]


def share(clients, daemon, variant):
    """Of the answers from now on, the share that a variant gave, over some hundred."""
    before = [len(client.variants) for client in clients]
    until(lambda: len(answered(clients)) >= sum(before) + 100, 10, "a hundred answers")
    new = [served for client, start in zip(clients, before, strict=True) for served in client.variants[start:]]
    return new.count(variant) / len(new)


def test_a_variant_that_fails_every_batch_is_left_at_once_and_returns_gradually(alone, clients):
    load = clients(alone)
    until(lambda: len(answered(load)) > 100, 10, "it serves")
    assert set(answered(load)) == {"exact"}
    before = alone.metric("sloctl_variant_breaker_calls_total", variant="exact", kind="failed")
    fault(alone, "error", variant="exact")
    until(lambda: "rough" in answered(load), 10, "the other one serves")
    assert share(load, alone, "rough") == 1.0
    # Its window was full of good calls: half of it have to fail, and one batch may be away.
    failed = len(failures(load))
    assert MINIMUM <= failed <= BREAKER["slidingWindowSize"] // 2 + MODEL["maxBatch"]
    assert alone.metric("sloctl_variant_breaker_calls_total", variant="exact", kind="failed") - before == failed
    until(lambda: breakers(alone) == ("closed", "open", "closed"), 5, "only the variant's breaker is open")
    assert alone.status()["models"][0]["wanted"] == "exact", "the control plane decided nothing"
    assert alone.status()["ready"]

    fault(alone)
    until(lambda: breakers(alone)[1] == "closed", 10, "its probes have closed it")
    early = share(load, alone, "exact")
    until(lambda: alone.metric("sloctl_serving_variant", variant="exact") == 1, 10, "the ramp has ended")
    assert early < share(load, alone, "exact") == 1.0
    assert len(failures(load)) == failed, "nothing has failed since"
    assert alone.metric("sloctl_requests_total", outcome="breaker_open") == 0


def test_when_all_fail_the_models_breaker_opens_and_closes_gradually(alone, clients):
    load = clients(alone)
    until(lambda: answered(load), 10, "it serves")
    fault(alone, "error")
    until(lambda: any("breaker_open" in str(failure) for failure in failures(load)), 10, "requests are refused")
    errors = [failure for failure in failures(load) if failure[0] == 500]
    assert len(errors) <= 2 * (BREAKER["slidingWindowSize"] // 2 + MODEL["maxBatch"])
    until(lambda: breakers(alone) == ("open", "open", "open"), 5, "all are open")
    refused = next(json.loads(failure[1]) for failure in failures(load) if failure[0] == 503)
    assert refused["reason"] == "breaker_open"
    assert refused["retry_after"] > 0

    fault(alone)
    until(lambda: breakers(alone)[0] == "closed", 20, "the model's breaker closes")
    begun, passed = len(failures(load)), len(answered(load))
    until(lambda: len(failures(load)) > begun + 20, 5, "in its ramp it still refuses most")
    assert len(answered(load)) > passed, "and lets some pass"

    def refuses_no_more():
        count = len(failures(load))
        return share(load, alone, "exact") + share(load, alone, "rough") > 0 and len(failures(load)) == count

    until(refuses_no_more, 15, "all are served")


@pytest.mark.slow
def test_the_health_fallback_of_the_control_plane_and_the_data_plane_agree(daemon, clients):
    both = daemon(faultInjection=True, models=MODELS, policy=POLICY)
    load = clients(both)
    until(lambda: len(answered(load)) > 50, 10, "it serves")
    fault(both, "error", variant="exact")
    until(lambda: both.status()["models"][0]["wanted"] == "rough", 10, "the control plane leaves it as well")
    failed = len(failures(load))
    assert failed <= BREAKER["slidingWindowSize"] // 2 + MODEL["maxBatch"]
    assert share(load, both, "rough") == 1.0
    assert both.metric("sloctl_variant_switches_total") == 1, "of which the second leave was none"
    fault(both)
    until(lambda: both.status()["models"][0]["wanted"] == "exact", 30, "it is well again")
    until(lambda: both.metric("sloctl_serving_variant", variant="exact") == 1, 20, "and serves")
    assert share(load, both, "exact") == 1.0
    assert both.metric("sloctl_variant_switches_total") == 2
    assert len(failures(load)) == failed
