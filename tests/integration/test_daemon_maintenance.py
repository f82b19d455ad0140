"""Maintenance by hand on a running daemon: what fails meanwhile counts for nothing, and the trail says so."""

import pytest
from running_daemon import until

pytestmark = pytest.mark.integration
BAD = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [float(n) for n in range(16)]}]}


def events(served):
    return served.metric("sloctl_slo_events_total", slo="tiny-availability")


def test_what_fails_meanwhile_is_set_aside_and_the_trail_says_so(daemon):
    served = daemon(faultInjection=True)
    for _ in range(20):
        assert served.infer()[0] == 200
    until(lambda: events(served) == 20, 5, "all is counted")
    done = served.cli("maintenance", "tiny-*", "--for", "1h", "--reason", "new disk")
    assert done.returncode == 0, done.stderr
    served.wait_metric(1, "sloctl_slo_excluded", slo="tiny-availability")
    assert served.post("/api/v1/faults", {"model": "tiny", "faults": ["error"]})[0] == 200
    until(lambda: served.infer(BAD)[0] == 500, 5, "the fault is there")
    until(lambda: served.metric("sloctl_slo_excluded_events_total", slo="tiny-availability") >= 1, 5, "it is set aside")
    assert served.post("/api/v1/faults", {"model": "tiny", "faults": []})[0] == 200
    until(lambda: served.infer()[0] == 200, 10, "the fault is over")
    assert events(served) == 20
    assert served.status()["slos"][0]["excluded"] == "new disk"
    (held,) = served.get("/api/v1/maintenance")[1]["byHand"]
    assert served.cli("maintenance", "--end", str(held["id"])).returncode == 0
    served.wait_metric(0, "sloctl_slo_excluded", slo="tiny-availability")
    assert served.infer()[0] == 200
    until(lambda: events(served) > 20, 5, "it counts again")
    said = served.cli("maintenance").stdout
    assert "nothing is left out" in said
    assert [word in said for word in ("asked", "begin", "ended by hand", "end")] == [True] * 4


def test_text_that_cannot_be_kept_is_refused(shared):
    status, said = shared().post("/api/v1/maintenance", {"slos": ["tiny-*"], "reason": "half a \ud83d"})
    assert status == 400
    assert "JSON" in said["error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nobody", "--reason", "x"), "there is no SLO 'nobody'"),
        (("tiny-*",), "a reason is needed"),
        (("tiny-*", "--for", "soon", "--reason", "x"), "expected a duration"),
        (("--end", "7"), "there is no maintenance 7"),
    ],
)
def test_what_cannot_be_is_refused(shared, words, message):
    done = shared().cli("maintenance", *words)
    assert done.returncode != 0
    assert message in done.stderr
