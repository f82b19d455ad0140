"""The daemon's alerts in real Alertmanagers, with and without a real Prometheus."""

import shutil
import subprocess

import pytest
from running_daemon import MODEL, SLOCTL, SLOS, until
from running_monitoring import Alertmanager, Prometheus, free_port, needs_alertmanager, needs_prometheus

from sloctl.config.resources import resource

pytestmark = [pytest.mark.integration, needs_alertmanager]

BUILTIN = resource("rules") / "prometheus" / "sloctl.yaml"
PAGE = ("SloctlErrorBudgetBurn", "page")
# Its windows are short enough for a test to see an end: a page over 6 s and 2 s.
WINDOWS = """\
apiVersion: sloctl/v1
kind: AlertWindows
metadata: {name: quick}
spec:
  period: 1h
  windows: [{name: page, severity: page, share: 0.02, long: 6s, short: 2s}]
"""
SHORT = SLOS.replace("30d", "1h")


@pytest.fixture
def monitoring():
    """Starts servers and stops them at the end."""
    started = []

    def start(server):
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def served(daemon, tmp_path):
    """A daemon that sends to these Alertmanagers."""
    (tmp_path / "windows.yaml").write_text(WINDOWS)

    def start(*urls, resend="1s", **fields):
        alerts = {"alertmanagers": [{"url": url, "timeout": "1s"} for url in urls], "resendInterval": resend}
        models = [{**MODEL, "breaker": {"enabled": False}}]  # an open one would end the errors, and the alert
        quick = {"slos": SHORT, "windows": "windows.yaml"}
        return daemon(**{**quick, **fields}, models=models, faultInjection=True, alerts=alerts)

    return start


def fail(daemon, *faults):
    """From now on requests fail as told, or no longer."""
    assert daemon.post("/api/v1/faults", {"model": "tiny", "faults": faults})[0] == 200


def outage(daemon, load):
    """Fails requests, and makes some."""
    fail(daemon, "error")
    load(daemon, pause=0.02)


@pytest.mark.slow
def test_an_alert_fires_and_resolves(served, monitoring, load, tmp_path):
    manager = monitoring(Alertmanager(tmp_path / "am"))
    daemon = served(manager.url)
    outage(daemon, load)
    until(lambda: manager.named(*PAGE), 15, "the page is in the Alertmanager")
    found = manager.named(*PAGE)
    assert found["generatorURL"] == f"http://127.0.0.1:{daemon.control}/api/v1/alerts"
    assert found["annotations"]["runbook_url"] == "docs/runbooks/SloctlErrorBudgetBurn.md"
    assert float(found["annotations"]["burn_rate"]) > 14
    fail(daemon)
    until(lambda: not manager.named(*PAGE), 20, "it is resolved")
    assert daemon.metric("sloctl_alertmanager_sent_total", alertmanager=manager.url) >= 2
    assert daemon.metric("sloctl_alertmanager_send_duration_seconds_count") >= 2


def test_an_alertmanager_that_comes_back_hears_of_it_and_one_that_is_down_holds_up_nobody(
    served, monitoring, load, tmp_path
):
    up, again = monitoring(Alertmanager(tmp_path / "up")), monitoring(Alertmanager(tmp_path / "again"))
    nobody = f"http://127.0.0.1:{free_port()}"
    daemon = served(nobody, up.url, again.url)
    again.stop()
    outage(daemon, load)
    until(lambda: up.named(*PAGE), 15, "the page is in the one that is up")
    until(lambda: daemon.metric("sloctl_alertmanager_failed_total", alertmanager=nobody) > 0, 10, "counted")
    shutil.rmtree(again.folder / "data", ignore_errors=True)
    again.start()
    until(lambda: again.named(*PAGE), 20, "the page is in the one that came back, without a memory")


def test_a_daemon_that_is_killed_and_comes_back_goes_on_with_the_same_alert(served, monitoring, load, tmp_path):
    manager = monitoring(Alertmanager(tmp_path / "am"))
    daemon = served(manager.url, resend="10s", slos=SLOS, windows=None)  # windows longer than a restart
    outage(daemon, load)
    began = until(lambda: manager.named(*PAGE), 15, "the page is in the Alertmanager")["startsAt"]
    until(lambda: daemon.get("/api/v1/alerts")[1]["data"]["alerts"], 5, "the daemon has it")
    daemon.kill()
    daemon.start()
    until(lambda: daemon.metric("sloctl_alertmanager_sent_total") > 0, 20, "it is sent again")
    assert manager.named(*PAGE)["startsAt"] == began


def test_the_alerts_of_a_daemon_that_is_gone_end_by_themselves(served, monitoring, load, tmp_path):
    manager = monitoring(Alertmanager(tmp_path / "am"))
    daemon = served(manager.url)
    outage(daemon, load)
    until(lambda: manager.named(*PAGE), 15, "the page is in the Alertmanager")
    daemon.kill()
    until(lambda: not manager.named(*PAGE), 15, "it has ended after four resend intervals")


@pytest.mark.slow
@needs_prometheus
def test_what_prometheus_and_the_daemon_say_is_one_alert(served, monitoring, load, tmp_path):
    manager = monitoring(Alertmanager(tmp_path / "am"))
    daemon = served(manager.url)
    outage(daemon, load)
    names = {PAGE[0], "SloctlEngineErrors"}  # one on an SLO, and a built-in one
    until(lambda: all(map(manager.alerts, names)), 15, "both are in the Alertmanager")
    alone = {name: manager.alerts(name) for name in names}
    rules = tmp_path / "rules.yaml"
    files = [str(tmp_path / "slo.yaml"), "--windows", str(tmp_path / "windows.yaml")]
    subprocess.run([*SLOCTL, "rules", *files, "-o", str(rules)], check=True, capture_output=True)
    prometheus = monitoring(
        Prometheus(
            tmp_path / "prometheus",
            target=f"127.0.0.1:{daemon.control}",
            rules=[rules, BUILTIN],
            alertmanager=manager.url,
        )
    )
    until(lambda: names <= {each["alertname"] for each in prometheus.alerts()}, 30, "both fire in Prometheus")
    until(lambda: prometheus.sent() >= len(names), 30, "the Alertmanager has taken them from Prometheus, too")
    assert {name: manager.alerts(name) for name in names} == alone
