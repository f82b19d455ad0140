"""Policies, overrides, faults and reloads: what a person or a rule decides reaches the requests."""

import json
import os
import signal

import pytest
from running_daemon import EAGER_POLICY, IDLE_POLICY, MODEL, request, until

from sloctl.policy import trace

pytestmark = pytest.mark.integration

TOKEN = "open-sesame"
EXPIRES = "error: expires: expected more than 0s and at most 365d"
BREAKER = {
    "slidingWindowSize": 20,
    "minimumNumberOfCalls": 5,
    "waitDurationInOpenState": "300ms",
    "permittedNumberOfCallsInHalfOpenState": 2,
}


@pytest.fixture
def served(shared):
    trace = {"trace": {"path": "traces"}}
    daemon = shared(
        faultInjection=True, telemetry=trace, models=[{**MODEL, "profile": {"interval": "1s"}, "breaker": BREAKER}]
    )
    _take_policy(daemon, IDLE_POLICY)
    return daemon


def _policy(daemon, text):
    (daemon.config.parent / "policy.yaml").write_text(text)


def _take_policy(daemon, text):
    _policy(daemon, text)
    assert daemon.post("/api/v1/reload", {}) == (200, {"slos": 1, "policies": 1})


def _variant(daemon):
    return daemon.infer()[1]["sloctl-variant"]


def test_a_broken_policy_is_refused_whole_and_a_good_one_taken(served):
    _policy(served, EAGER_POLICY.replace("offered_rate > 5", "offered_rats > 5"))
    os.kill(served.process.pid, signal.SIGHUP)
    served.wait_metric(0, "sloctl_config_last_reload_successful")
    assert served.metric("sloctl_config_reloads_total", result="refused") == 1
    assert served.status()["ready"]
    assert "offered_rats" in served.output
    status, answer = served.post("/api/v1/reload", {})
    assert status == 422
    assert f"{served.config.parent}/policy.yaml:12:" in answer["error"]  # file:line:column
    assert "offered_rate" in answer["error"], "it suggests the name that was meant"
    assert {labels["policy"] for labels in _rules(served)} == set(), "the policy without rules is still in force"

    _policy(served, EAGER_POLICY)
    os.kill(served.process.pid, signal.SIGHUP)
    served.wait_metric(1, "sloctl_config_last_reload_successful")
    assert {labels["policy"] for labels in _rules(served)} == {"eager"}


def _rules(daemon):
    return [dict(labels) for name, labels in daemon.metrics() if name == "sloctl_policy_rule_active"]


def test_a_rule_lowers_the_precision_and_no_request_fails(served, load):
    assert _variant(served) == "exact"
    _take_policy(served, EAGER_POLICY)
    thread = load(served)
    until(lambda: "rough" in thread.variants, 10, "the switch reaches the requests")
    thread.stop()
    assert thread.failures == []
    assert thread.variants == sorted(thread.variants), "exact first, then rough, and no flapping"
    decision = served.get("/api/v1/decisions?limit=1&model=tiny")[1]["decisions"][0]
    told = {key: decision[key] for key in ("policy", "rule", "action", "before", "after", "dryRun")}
    assert told == {
        "policy": "eager",
        "rule": "busy",
        "action": "precision:down",
        "before": "exact",
        "after": "rough",
        "dryRun": False,
    }
    assert "offered_rate" in decision["reason"]
    assert decision["facts"]["offered_rate"] > 5
    served.wait_metric(1, "sloctl_decisions_total", policy="eager", rule="busy", action="precision:down")
    until(lambda: served.metric("sloctl_variant_switches_total", model="tiny") >= 1, 5, "the switch is counted")
    said = served.cli("decisions", "--facts")
    assert (said.returncode, "exact → rough  [busy]" in said.stdout) == (0, True), said.stdout
    assert "offered_rate = " in said.stdout
    told = served.cli("explain", str(decision["id"]))
    assert told.returncode == 0, told.stderr
    assert "when: offered_rate > 5" in told.stdout
    assert "in place of 5 in `offered_rate > 5`" in told.stdout
    assert "of at most 12 switches in the last hour" in told.stdout


def test_what_the_policies_see_is_recorded_a_row_a_second(served):
    path = served.config.parent / "traces" / "tiny.csv"

    def rows():
        return trace.read(path.read_text().splitlines(), 100_000)

    until(lambda: len(rows()[0]) >= 3, 10, "three rows")
    times, seen = rows()
    assert 1.5 < times[2] - times[0] < 10
    assert seen[-1]["variant", ()] in ("exact", "rough")
    assert seen[-1]["capacity", ("exact",)] > 0
    assert ("budget_remaining", ("tiny-availability",)) in seen[-1]


def test_an_override_holds_until_it_is_cleared_or_expires(served):
    start = _variant(served)
    other = {"exact": "rough", "rough": "exact"}[start]
    said = served.cli("override", "tiny", "--variant", other, "--expires", "10m", "--reason", "by hand")
    assert said.returncode == 0, said.stderr
    until(lambda: _variant(served) == other, 5, "the override reaches the requests")
    number = served.get("/api/v1/overrides")[1]["overrides"][0]["id"]
    assert "by hand" in served.cli("override").stdout
    assert served.cli("override", "--clear", str(number)).returncode == 0
    until(lambda: _variant(served) == start, 5, "what was in force comes back")

    assert served.cli("override", "tiny", "--variant", other, "--expires", "2s").returncode == 0
    until(lambda: _variant(served) == other, 2, "the second override reaches the requests")
    until(lambda: _variant(served) == start, 5, "it expires by itself")
    assert served.get("/api/v1/overrides")[1]["overrides"] == []
    actions = [each["action"] for each in served.get("/api/v1/decisions?limit=4")[1]["decisions"]]
    assert actions == ["override:end", "override:variant"] * 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["override", "tiny", "--variant", "bogus"], "error: tiny has no variant 'bogus'; it has exact, rough"),
        (["override", "nope", "--variant", "exact"], "error: there is no model 'nope'; there is tiny"),
        (["override", "--clear", "999"], "error: there is no override 999"),
        (["override", "tiny", "--variant", "exact", "--expires", "99999999d"], EXPIRES),
        (["override", "tiny", "--variant", "exact", "--expires", "0s"], EXPIRES),
        (["override", "--clear", str(2**63)], f"error: there is no override {2**63}"),
        (["explain", "999999"], "error: there is no decision 999999"),
        (["explain", str(2**63)], f"error: there is no decision {2**63}"),
        (["layers", "nope"], "error: there is no model 'nope'; there is tiny"),
    ],
    ids=[
        "an unknown variant",
        "an unknown model",
        "an override that is not there",
        "an override beyond all calendars",
        "an override that has ended",
        "a number of an override that no database has",
        "a decision that is not there",
        "a number of a decision that no database has",
        "layers of an unknown model",
    ],
)
def test_commands_say_what_cannot_be_done(served, words, says):
    said = served.cli(*words)
    assert (said.returncode, said.stderr.strip()) == (1, says)
    assert served.get("/api/v1/overrides") == (200, {"overrides": []})


def test_status_and_layers_tell_what_is_going_on(served):
    assert served.infer()[0] == 200
    said = served.cli("status", "--json")
    assert said.returncode == 0, said.stderr
    status = json.loads(said.stdout)
    assert status["ready"]
    assert [model["name"] for model in status["models"]] == ["tiny"]
    assert [slo["name"] for slo in status["slos"]] == ["tiny-availability"]
    said = served.cli("status")
    assert (said.returncode, "tiny-availability" in said.stdout) == (0, True)
    until(lambda: served.get("/api/v1/layers/tiny")[1]["variants"][_variant(served)], 10, "a profile")
    said = served.cli("layers", "tiny", "--variant", _variant(served))
    assert (said.returncode, "MatMul" in said.stdout) == (0, True), said.stdout


def test_engine_errors_open_the_breaker_and_their_end_closes_it(served):
    def fault(*names):
        return served.post("/api/v1/faults", {"model": "tiny", "faults": names})

    assert fault("error") == (200, {"model": "tiny", "faults": ["error"]})
    until(lambda: served.infer()[0] == 500, 5, "the fault reaches the engine")
    until(lambda: served.infer()[0] == 503, 5, "the breaker opens")
    status, headers, body = served.infer()
    if status == 503:  # it may be probing again
        assert json.loads(body)["reason"] == "breaker_open"
        assert int(headers["retry-after"]) >= 1
    until(lambda: served.status()["models"][0]["breaker"] in ("open", "half_open"), 5, "the status says so")
    assert fault("bogus")[0] == 400
    assert fault()[0] == 200
    until(lambda: served.infer()[0] == 200 and served.status()["models"][0]["breaker"] == "closed", 10, "it closes")
    assert served.metric("sloctl_requests_total", outcome="error") >= 5
    assert served.metric("sloctl_requests_total", outcome="breaker_open") >= 1
    served.wait_ready(5)


def test_writes_want_the_token_and_faults_want_permission(daemon, tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    served = daemon(control={"port": 0, "tick": "100ms", "tokenFile": "token"})
    override = {"model": "tiny", "kind": "variant", "value": "rough", "expires": "1m"}
    for bearer in ({}, {"authorization": "Bearer wrong"}):
        for path, body in (("/api/v1/overrides", override), ("/api/v1/reload", {}), ("/api/v1/faults", {})):
            assert served.post(path, body, **bearer)[0] == 401, path
        assert request(served.control, "DELETE", "/api/v1/overrides/1", headers=bearer)[0] == 401
    assert served.get("/api/v1/overrides") == (200, {"overrides": []})
    right = {"authorization": f"Bearer {TOKEN}"}
    assert served.post("/api/v1/overrides", override, **right)[0] == 201
    assert served.post("/api/v1/reload", {}, **right)[0] == 200
    status, answer = served.post("/api/v1/faults", {"model": "tiny", "faults": ["error"]}, **right)
    assert (status, answer["error"].split(";")[0]) == (403, "fault injection is off")


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("\n"), lambda path: path.unlink()])
def test_a_token_file_that_is_spoilt_later_opens_nothing(daemon, tmp_path, spoil):
    (tmp_path / "token").write_text(TOKEN)
    served = daemon(control={"port": 0, "tick": "100ms", "tokenFile": "token"})
    spoil(tmp_path / "token")
    old = served.pid("control")
    os.kill(old, signal.SIGKILL)
    until(lambda: served.pid("control") != old, 10, "the control plane is back")
    for bearer in ({}, {"authorization": "Bearer "}, {"authorization": f"Bearer {TOKEN}"}):
        assert served.post("/api/v1/reload", {}, **bearer)[0] == 401
    assert served.infer()[0] == 200
