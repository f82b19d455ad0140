"""What a killed process costs: a control plane nothing, a data plane seconds, a daemon at most the last second."""

import os
import signal
import threading
import time

import pytest
from running_daemon import EAGER_POLICY, alive, request, until

pytestmark = pytest.mark.integration

SLO = "tiny-availability"
EVENTS = "sloctl_slo_events_total"


def _kill(pid):
    os.kill(pid, signal.SIGKILL)


def test_a_killed_control_plane_costs_no_request_and_no_event(daemon, load):
    served = daemon()
    thread = load(served)
    until(lambda: thread.answered > 50, 10, "some answers")
    before, old = served.metric(EVENTS, slo=SLO), served.pid("control")
    assert before > 0
    _kill(old)
    until(lambda: not alive(old), 2, "it is gone")
    until(lambda: served.get("/health/ready")[0] == 200, 5, "the control plane is back")
    assert served.pid("control") != old
    assert served.metric(EVENTS, slo=SLO) >= before
    answered = thread.answered
    until(lambda: thread.answered > answered + 50, 10, "requests go on")
    thread.stop()
    assert thread.failures == []
    served.wait_metric(thread.answered, EVENTS, slo=SLO)
    assert served.metric("sloctl_slo_good_events_total", slo=SLO) == thread.answered
    assert served.metric("sloctl_slo_error_budget_remaining_ratio", slo=SLO) == 1
    assert served.metric("sloctl_plane_restarts_total", plane="control") == 1
    assert served.metric("sloctl_plane_restarts_total", plane="data") == 0


def test_a_killed_data_plane_comes_back_and_its_counters_go_on(daemon):
    served = daemon()
    for _ in range(20):
        assert served.infer()[0] == 200
    served.wait_metric(20, EVENTS, slo=SLO)
    before, old = served.metrics(), served.pid("data")
    _kill(old)
    until(lambda: served.get("/health/ready")[0] == 503, 3, "not ready meanwhile")
    assert any("data plane" in reason for reason in served.get("/health/ready")[1]["reasons"])
    served.wait_ready(10)
    assert served.pid("data") != old
    assert served.infer()[0] == 200
    served.wait_metric(21, EVENTS, slo=SLO)
    after = served.metrics()
    counters = [key for key in before if key[0].endswith(("_total", "_count", "_bucket")) and "process" not in key[0]]
    assert [key for key in counters if after[key] < before[key]] == []
    assert served.metric("sloctl_plane_restarts_total", plane="data") == 1


def test_counts_survive_a_restart_of_the_whole_daemon(daemon):
    served = daemon()
    for _ in range(10):
        assert served.infer()[0] == 200
    assert served.stop() == 0  # at once: the last counts are saved on the way out
    served.start()
    served.wait_metric(10, EVENTS, slo=SLO)
    assert served.infer()[0] == 200
    served.wait_metric(11, EVENTS, slo=SLO)
    assert served.metric("sloctl_slo_good_events_total", slo=SLO) == 11


def test_a_killed_supervisor_takes_its_planes_along_and_the_next_one_goes_on(daemon):
    served = daemon()
    for _ in range(10):
        assert served.infer()[0] == 200
    served.wait_metric(10, EVENTS, slo=SLO)
    planes = [served.pid(plane) for plane in ("data", "control")]
    time.sleep(1.2)  # what is older than a second is saved
    served.kill()
    until(lambda: not any(alive(pid) for pid in planes), 10, "both planes end")
    served.start()
    served.wait_metric(10, EVENTS, slo=SLO)


def test_what_was_set_by_hand_outlives_both_planes_and_the_daemon(daemon):
    served = daemon()
    body = {"model": "tiny", "kind": "variant", "value": "rough", "expires": "10m"}
    assert served.post("/api/v1/overrides", body)[0] == 201
    until(lambda: _variant(served) == "rough", 5, "the override reaches the requests")
    _kill(served.pid("data"))
    until(lambda: served.get("/health/ready")[0] == 503, 3, "not ready meanwhile")
    served.wait_ready(10)
    assert _variant(served) == "rough"
    _kill(served.pid("control"))
    until(lambda: served.metric("sloctl_plane_restarts_total", plane="control") == 1, 5, "the control plane is back")
    assert served.metric("sloctl_overrides_active") == 1
    assert served.stop() == 0
    served.start()
    assert served.metric("sloctl_overrides_active") == 1
    until(lambda: _variant(served) == "rough", 5, "it is applied again")


def test_a_killed_control_plane_keeps_the_accepted_policy_and_forgets_no_decision(daemon, load):
    served = daemon(policy=EAGER_POLICY)
    (served.config.parent / "policy.yaml").write_text("not: [a policy")
    load(served)
    labels = {"policy": "eager", "rule": "busy", "action": "precision:down"}
    assert served.metric("sloctl_decisions_total", **labels) in (0, 1), "the series is there from the start"
    until(lambda: served.metric("sloctl_decisions_total", **labels) == 1, 10, "a decision")
    _kill(served.pid("control"))  # within the second after it
    until(lambda: served.metric("sloctl_plane_restarts_total", plane="control") == 1, 5, "the control plane is back")
    assert served.metric("sloctl_decisions_total", **labels) == 1
    assert len(served.get("/api/v1/decisions")[1]["decisions"]) == 1
    assert served.metric("sloctl_policy_rule_active", policy="eager", rule="busy") in (0, 1)
    assert _variant(served) == "rough"


def _variant(daemon):
    return daemon.infer()[1]["sloctl-variant"]


def test_requests_in_flight_are_answered_when_the_supervisor_is_killed(daemon):
    served = daemon(faultInjection=True)
    served.post("/api/v1/faults", {"model": "tiny", "faults": ["slow"]})
    answers = []
    caller = threading.Thread(target=lambda: answers.append(served.infer()[0]))
    caller.start()
    until(lambda: served.metric("sloctl_inflight_requests", model="tiny") == 1, 5, "a request is in flight")
    served.kill()
    caller.join(10)
    assert answers == [200]
    until(lambda: _refused(served.serving), 10, "the port is free")


def _refused(port):
    try:
        request(port, "GET", "/v2/health/live")
    except ConnectionRefusedError:
        return True
    return False
