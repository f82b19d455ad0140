"""Real processes all the way: a fault in a daemon, Prometheus, two Alertmanagers, and back into the daemon."""

import pytest
import yaml
from running_daemon import IDLE_POLICY, MODEL, SLOS, until
from running_monitoring import Alertmanager, Prometheus, needs_alertmanager, needs_prometheus

from sloctl.cli import stack_files
from sloctl.config.resources import resource

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240), needs_alertmanager, needs_prometheus]

WINDOWS = resource("rules") / "windows" / "demo.yaml"
PAGE = ("SloctlErrorBudgetBurn", "page")
FACT = 'alert("SloctlErrorBudgetBurn", "sloctl_slo", "tiny-availability", "severity", "page")'
POLICY = IDLE_POLICY.replace(
    "  rules: []\n",
    f"""\
  rules:
    - name: paged
      when: {FACT} > 0
      action: {{shed: {{admit: {{low: 0}}}}}}
""",
)


def received(served):
    return {(each["name"], each["labels"]["severity"]) for each in served.status()["receivedAlerts"]}


def admitted(served):
    """Share of the lowest class that the policy admits."""
    return served.status()["models"][0]["admit"]["low"]


def notices(served, result):
    return served.metric("sloctl_received_alert_notices_total", result=result)


def undelivered(alertmanager):
    """Attempts to tell the daemon that failed."""
    return alertmanager.metric("alertmanager_notification_requests_failed_total", integration="webhook")


@pytest.fixture
def stack(daemon, tmp_path):
    """A daemon with its control port held, two Alertmanagers that do not know of each other, and a Prometheus."""
    token = stack_files.token(tmp_path / "token")
    hourly = SLOS.replace("30d", "1h")
    control = {"port": 0, "tick": "100ms", "tokenFile": "token"}
    # Without its breaker, or what fails would soon be refused, and no longer count.
    models = [{**MODEL, "breaker": {"enabled": False}}]
    changed = {"control": control, "models": models, "windows": str(WINDOWS), "faultInjection": True}
    served = daemon(slos=hourly, policy=POLICY, **changed)
    config = yaml.safe_load(served.config.read_text())
    config["control"]["port"] = served.control  # it will come back there
    served.config.write_text(yaml.safe_dump(config))
    webhook = f"http://127.0.0.1:{served.control}/api/v1/alerts"
    programs = []
    try:
        for name in ("a", "b"):
            folder = tmp_path / name
            programs.append(Alertmanager(folder, stack_files.alertmanager(folder, webhook, token)).start())
        alertmanagers = [f"127.0.0.1:{program.port}" for program in programs]
        targets = {"sloctl": f"127.0.0.1:{served.control}"}
        config = stack_files.prometheus(tmp_path / "p", [tmp_path / "slo.yaml", WINDOWS], targets, alertmanagers)
        programs.append(Prometheus(tmp_path / "p", config).start())
        yield served, token.read_text().strip(), programs
    finally:
        for program in programs:
            program.stop()


def test_an_outage_comes_back_as_a_fact_and_its_end_too_though_the_daemon_was_away(stack, load):
    served, token, (one, other, _) = stack
    load(served)
    until(lambda: ("SloctlWatchdog", "none") in received(served), 30, "the way works")
    until(lambda: served.metric("sloctl_slo_events_total") > 100, 20, "there is traffic")
    assert received(served) == {("SloctlWatchdog", "none")}
    assert admitted(served) == 1

    outage = {"model": "tiny", "faults": ["error"]}
    assert served.post("/api/v1/faults", outage, authorization=f"Bearer {token}")[0] == 200
    until(lambda: PAGE in received(served), 30, "the page has gone round")
    until(lambda: admitted(served) == 0, 5, "the policy acts on it")
    decision = served.get("/api/v1/decisions?limit=1")[1]["decisions"][0]
    assert (decision["rule"], decision["facts"]) == ("paged", {FACT: 1})
    # Both Alertmanagers told of the same alert, and it is one.
    until(lambda: notices(served, "repeated") >= 2, 30, "the second one has told")
    pages = [each for each in served.status()["receivedAlerts"] if (each["name"], each["labels"]["severity"]) == PAGE]
    assert len(pages) == 1
    assert {each["fingerprint"] for each in (*one.shown(), *other.shown())} >= {pages[0]["fingerprint"]}

    # With the daemon its series go, and so does the alert; both Alertmanagers try to tell nobody.
    served.kill()
    until(lambda: undelivered(one) and undelivered(other), 60, "the end is told to nobody")
    served.start()  # the faults went with it
    # Only an alert that it remembers can be resolved.
    until(lambda: notices(served, "resolved") >= 1 and PAGE not in received(served), 30, "the end is told again")
    assert notices(served, "expired") == 0
    until(lambda: admitted(served) > 0, 5, "the policy restores what it took")
