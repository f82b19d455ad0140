"""Tenants of a daemon: one floods, and what becomes of the others; rates; what is counted."""

import http.client
import json
import re
import statistics
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import tritonclient.grpc as triton
from running_daemon import BODY, MODEL, request, until
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.integration
HEADER = "x-sloctl-tenant"
SLOS = """\
apiVersion: sloctl/v1
kind: ServiceLevel
metadata: {name: tiny}
spec:
  model: tiny
  objectives:
  - {name: answered, sli: tenant_success, target: 99%, each: {tenant: [few, meter]}}
  - {name: quick, sli: tenant_time < 1s, target: 99%, labels: {tenant: few}}
"""


@pytest.fixture
def served(shared):
    """One for all: tenants by name, one with a rate, and few places in the queue."""
    tenants = {"few": {"rate": "unlimited"}, "flood": {"rate": "unlimited"}, "meter": {}}
    return shared(
        slos=SLOS,
        faultInjection=True,
        models=[MODEL | {"maxQueue": 8, "admission": {"limit": "off"}}],
        tenants={"rate": 10, "burst": 3, "each": tenants},
    )


def ask(daemon, tenant):
    return request(daemon.serving, "POST", "/v2/models/tiny/infer", BODY, {HEADER: tenant})


class Clients:
    """So many that ask one thing after another for a tenant: `answers` are (status, seconds)."""

    def __init__(self, daemon, tenant, count):
        self._daemon, self._tenant, self._end = daemon, tenant, threading.Event()
        self.answers = []
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._daemon.serving, timeout=10)
        headers = {"content-type": "application/json", HEADER: self._tenant}
        while not self._end.is_set():
            began = time.monotonic()
            with suppress(OSError, http.client.HTTPException):
                connection.request("POST", "/v2/models/tiny/infer", json.dumps(BODY), headers)
                answer = connection.getresponse()
                answer.read()
                self.answers.append((answer.status, time.monotonic() - began))
                self._end.wait(0.02 if answer.status == 503 else 0)
        connection.close()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(15)

    def seconds(self, status):
        return [seconds for found, seconds in self.answers if found == status]


def faults(daemon, *names):
    assert daemon.post("/api/v1/faults", {"model": "tiny", "faults": names})[0] == 200


def test_a_tenant_that_floods_is_the_one_that_waits_and_is_refused(served):
    """The queue has place for two batches, and the flood would fill it many times over."""
    faults(served, "slow")
    try:
        with Clients(served, "flood", 16) as flood:
            time.sleep(0.5)  # it stands
            with Clients(served, "few", 2) as few:
                time.sleep(4)
    finally:
        faults(served)
    assert {status for status, _ in few.answers} == {200}
    assert len(flood.seconds(503)) > len(flood.seconds(200)) > 0
    assert statistics.median(few.seconds(200)) < statistics.median(flood.seconds(200))
    # Two that each ask again as soon as they are answered get a place in every batch.
    assert len(few.answers) > len(flood.seconds(200)) / 4
    for tenant, clients in (("few", few), ("flood", flood)):
        served.wait_metric(len(clients.answers), "sloctl_tenant_requests_total", tenant=tenant)
    assert served.metric("sloctl_tenant_rows_total", tenant="few") == len(few.answers)


def test_over_its_rate_a_tenant_is_told_when_to_come_again_and_is_then_served(served):
    answers = [ask(served, "meter")]
    while answers[-1][0] == 200:
        answers.append(ask(served, "meter"))
    status, headers, body = answers[-1]
    assert (status, json.loads(body)["reason"]) == (429, "rate_limited")
    assert len(answers) > 3
    assert int(headers["retry-after"]) >= 1
    assert ask(served, "someone-else")[0] == 200
    assert ask(served, "with a space")[0] == 400
    time.sleep(int(headers["retry-after-ms"]) / 1000)
    assert ask(served, "meter")[0] == 200


def test_over_grpc_too(served):
    port = re.search(r"gRPC on 127\.0\.0\.1:(\d+)", served.output)[1]
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        given = triton.InferInput("x", [1, 16], "FP32")
        given.set_data_from_numpy(np.ones((1, 16), np.float32))

        def until_refused():
            while True:
                client.infer("tiny", [given], headers={HEADER: "a-caller"})

        with pytest.raises(InferenceServerException, match="over its rate of 10 requests a second") as caught:
            until_refused()
        assert "RESOURCE_EXHAUSTED" in str(caught.value.status())
        client.infer("tiny", [given], headers={HEADER: "another"})


def test_what_is_named_is_counted_by_itself_and_held_against_its_own_objective(served):
    assert ask(served, "few")[0] == 200
    tenants = {dict(labels)["tenant"] for name, labels in served.metrics() if name == "sloctl_tenant_rows_total"}
    assert tenants == {"few", "flood", "meter", "(other)"}

    def agree():
        counted = served.metric("sloctl_tenant_requests_total", tenant="few", outcome="ok")
        timed = served.metric("sloctl_tenant_request_duration_seconds_count", tenant="few")
        slos = [served.metric("sloctl_slo_events_total", slo=f"tiny-{name}") for name in ("answered-few", "quick")]
        good = served.metric("sloctl_slo_good_events_total", slo="tiny-answered-few")
        return counted > 0 and {timed, good, *slos} == {counted}

    until(agree, 10, "what is counted for a tenant is what its SLOs see")
