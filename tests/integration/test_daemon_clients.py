"""sloctl.client against a daemon that refuses, drains and crashes; and the examples of its page."""

import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from running_daemon import BODY, MODEL, until
from tritonclient.utils import InferenceServerException

from sloctl.client import Caller, Client, InferenceError, Retry, RetryBudget, Throttle, ThrottledError

pytestmark = pytest.mark.integration
PAGE = (Path(__file__).parents[2] / "docs/client.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def grpc_port(daemon):
    return int(re.search(r"gRPC on 127\.0\.0\.1:(\d+)", daemon.output)[1])


def url(daemon):
    return f"http://127.0.0.1:{daemon.serving}"


def seen(daemon):
    """How many requests the server has counted, whatever came of them; that is as old as its last tick."""
    return daemon.metric("sloctl_requests_total")


def asked_until(daemon, status):
    """Asks until the answer has this status; how often."""
    asked = []
    until(lambda: asked.append(daemon.infer()[0]) or asked[-1] == status, 5, f"it answers {status}")
    return len(asked)


def trip(daemon):
    """Opens the breaker; how many requests that took."""
    done = daemon.cli("override", "tiny", "--breaker", "force_open", "--expires", "10m")
    assert done.returncode == 0, done.stderr
    return asked_until(daemon, 503)


def sent(caller):
    return caller.counts.requests - caller.counts.throttled + caller.counts.retries


@pytest.mark.parametrize("example", EXAMPLES, ids=["http", "grpc", "asyncio"])
def test_the_examples_of_the_page_run(shared, example, capsys):
    served = shared()
    code = example.replace("127.0.0.1:8000", f"127.0.0.1:{served.serving}")
    code = code.replace("127.0.0.1:8001", f"127.0.0.1:{grpc_port(served)}").replace("timeout=0.5", "timeout=10")
    exec(compile(code, "docs/client.md", "exec"), {"__name__": "example"})
    assert "30." in capsys.readouterr().out, "the last number, doubled"


def test_an_overloaded_daemon_is_neither_stormed_nor_left_alone(daemon):
    """Capacity is five a second; sixteen callers ask all at once, again and again."""
    served = daemon(faultInjection=True, models=[{**MODEL, "maxBatch": 1, "maxQueue": 2}])
    assert served.post("/api/v1/faults", {"model": "tiny", "faults": ["slow"]})[0] == 200
    before = asked_until(served, 200)
    reasons, answered = Counter(), []
    with Client(url(served), timeout=2) as client:

        def ask():
            for _ in range(10):
                try:
                    answered.append(client.infer("tiny", BODY))
                except InferenceError as error:
                    reasons[error.reason] += 1
                except ThrottledError:
                    reasons["throttled"] += 1

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts = client.caller.counts
    assert counts.requests == 160 == len(answered) + reasons.total()
    assert answered
    assert set(reasons) <= {"overloaded", "deadline", "throttled"}
    assert reasons["throttled"] == counts.throttled > 0
    assert counts.retries <= 0.1 * counts.requests + 10
    until(lambda: seen(served) >= before + sent(client.caller), 5, "all are counted")
    assert seen(served) == before + sent(client.caller)


def test_a_storm_against_a_daemon_that_refuses_all_dies(daemon):
    served = daemon()
    before = trip(served)
    clients = [Client(url(served), caller=Caller(Retry(longest=60), sleep=lambda _: None)) for _ in range(5)]
    for client in clients:
        for _ in range(200):
            with pytest.raises((InferenceError, ThrottledError)) as caught:
                client.infer("tiny", BODY, timeout=600)
            assert getattr(caught.value, "reason", "breaker_open") == "breaker_open"
        client.close()
    total = sum(sent(client.caller) for client in clients)
    until(lambda: seen(served) >= before + total, 5, "all are counted")
    assert seen(served) == before + total
    assert total <= 0.25 * 5 * 200, "of a thousand requests, each of which would be three"


def test_tritons_clients_are_told_apart_from_what_no_attempt_would_better(daemon):
    """Over gRPC the time to wait is known, over HTTP the status alone; a mistake of the client's is sent once."""
    served = daemon(models=[{**MODEL, "breaker": {"waitDurationInOpenState": "3s"}}])
    pauses = []
    caller = Caller(throttle=Throttle(chance=lambda: 1.0), chance=lambda: 0.0, sleep=pauses.append)
    http = triton_http.InferenceServerClient(f"127.0.0.1:{served.serving}")
    grpc = triton_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port(served)}")
    trip(served)
    for module, client in ((triton_http, http), (triton_grpc, grpc)):
        given = module.InferInput("x", [1, 16], "FP32")
        given.set_data_from_numpy(np.ones((1, 16), np.float32))
        with pytest.raises(InferenceServerException):
            caller.call(lambda _, client=client, given=given: client.infer("tiny", [given]))
        with pytest.raises(InferenceServerException, match="no model 'nobody'"):
            caller.call(lambda _, client=client, given=given: client.infer("nobody", [given]))
        client.close()
    assert pauses == [0.0, 0.0, 3.0, 3.0], "two retries each of what was refused"


def test_callers_ride_over_a_crash_of_the_data_plane(daemon):
    served = daemon()
    caller = Caller(Retry(attempts=40, base=0.2, longest=1), RetryBudget(share=1, reserve=40))
    stopped, failures, answered = threading.Event(), [], []
    with Client(url(served), timeout=20, caller=caller) as client:

        def ask():
            while not stopped.wait(0.02):
                try:
                    answered.append(client.infer("tiny", BODY))
                except Exception as error:
                    failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: len(answered) > 10, 10, "it is asked")
        os.kill(served.pid("data"), signal.SIGKILL)
        before = len(answered)
        until(lambda: len(answered) > before + 10, 20, "it is back")
        stopped.set()
        thread.join(20)
    assert not failures
    assert caller.counts.retries > 0


def test_a_daemon_that_drains_says_so_and_is_not_asked_again_in_vain(daemon):
    served = daemon(faultInjection=True, models=[{**MODEL, "maxBatch": 1}])
    assert served.post("/api/v1/faults", {"model": "tiny", "faults": ["slow"]})[0] == 200
    pauses = []
    with Client(url(served), caller=Caller(chance=lambda: 0.99, sleep=pauses.append)) as client:
        client.infer("tiny", BODY)  # and its connection stays
        waiting = [threading.Thread(target=served.infer) for _ in range(16)]
        for thread in waiting:
            thread.start()
        until(lambda: served.metric("sloctl_inflight_requests", model="tiny") > 12, 5, "requests are in flight")
        served.process.send_signal(signal.SIGTERM)
        until(lambda: "draining" in served.output, 5, "it drains")
        with pytest.raises(InferenceError) as caught:
            client.infer("tiny", BODY, timeout=0.9)
        assert (caught.value.status, caught.value.reason, caught.value.retry_after) == (503, "draining", 1.0)
        assert pauses == [], "it would come too late"
    for thread in waiting:
        thread.join()
    assert served.process.wait(20) == 0
