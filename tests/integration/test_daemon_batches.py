"""Batches from outside: what is too late never reaches the device, what is let in again, and what is counted."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from running_daemon import BODY, MODEL, until

pytestmark = pytest.mark.integration


def within(milliseconds):
    return {**BODY, "parameters": {"timeout": milliseconds * 1000}}


def faults(served, *names):
    assert served.post("/api/v1/faults", {"model": "tiny", "faults": names})[0] == 200


def test_what_cannot_be_in_time_never_reaches_a_slow_device_and_is_let_in_once_it_is_fast_again(daemon):
    served = daemon(faultInjection=True)
    faults(served, "slow")  # 200 ms a batch, where 10 µs were measured

    def refused(milliseconds=100):
        status, _, body = served.infer(within(milliseconds))
        return status == 503 and json.loads(body)["reason"] == "deadline"

    until(refused, 20, "it is believed that batches take 200 ms")
    ran = served.metric("sloctl_inferences_total", variant="exact")
    assert refused(50)  # with room: what is believed fades from one tick to the next
    assert served.infer()[0] == 200, "with more time it is answered"
    served.wait_metric(ran + 1, "sloctl_inferences_total", variant="exact")
    assert served.metric("sloctl_requests_total", outcome="deadline") >= 2

    faults(served)
    until(lambda: served.infer(within(100))[0] == 200, 30, "what was seen is forgotten where nothing runs")


def test_requests_of_all_classes_share_batches_that_are_padded_and_counted(daemon):
    served = daemon(faultInjection=True, models=[{**MODEL, "maxBatch": 8, "allowedBatchSizes": [4, 8]}])
    status, _, body = served.infer()
    assert (status, json.loads(body)["outputs"][0]["shape"]) == (200, [1, 16])
    faults(served, "slow")
    bodies = [{**BODY, "parameters": {"priority": priority}} for priority in (2, 1, 3, 3, 1)]
    with ThreadPoolExecutor(len(bodies)) as clients:
        first = clients.submit(served.infer, bodies[0])
        until(lambda: served.metric("sloctl_inflight_requests") == 1, 5, "it runs")
        answers = [first.result(), *(clients.map(served.infer, bodies[1:]))]
    assert {(status, json.loads(body)["outputs"][0]["shape"][0]) for status, _, body in answers} == {(200, 1)}
    served.wait_metric(6, "sloctl_inferences_total", variant="exact")
    batches = served.metric("sloctl_batch_size_count", variant="exact")
    rows = 6 + served.metric("sloctl_padding_rows_total", variant="exact")
    assert batches < 6, "some were together"
    assert rows % 4 == 0
    assert rows >= 4 * batches
    waits = {name: served.metric("sloctl_queue_duration_seconds_count", priority=name) for name in ("high", "low")}
    assert waits == {"high": 2, "low": 2}
