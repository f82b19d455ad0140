"""A fleet's SLO, asked of a real Prometheus or VictoriaMetrics, drives a node's policy; gone, it freezes it."""

import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
import yaml
from running_daemon import until
from running_monitoring import Process

pytestmark = pytest.mark.integration
# The hash of Prometheus' own guide to basic authentication, of the password "test".
HASHED, PASSWORD = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay", "test"

SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: fleet}
spec:
  service: fleet
  indicator:
    metadata: {name: fleet}
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {type: Prometheus, spec: {query: 'increase(fleet_bad_total[{{.window}}])'}}}
        total: {metricSource: {type: Prometheus, spec: {query: 'increase(fleet_all_total[{{.window}}])'}}}
  timeWindow: [{duration: 1d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: answered, target: 0.99}]
"""
POLICY = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: with-the-fleet}
spec:
  model: tiny
  ladder: [exact, rough]
  dwell: 100ms
  cooldown: 200ms
  rules:
    - name: fleet-burns
      when: burn_rate("fleet", "10s") > 20
      action: {precision: down}
    - name: fleet-is-calm
      when: burn_rate("fleet", "10s") < 1
      action: {precision: up}
"""


class Fleet(http.server.ThreadingHTTPServer):
    """Something to scrape: a hundred events a second, of which `bad` fail."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Exposition)
        self.began, self.bad, self._failed, self._at = time.monotonic(), 0, 0.0, time.monotonic()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def counts(self):
        now = time.monotonic()
        self._failed += self.bad * (now - self._at)
        self._at = now
        return f"fleet_all_total {100 * (now - self.began)}\nfleet_bad_total {self._failed}\n"


class Exposition(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.counts().encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(Process):
    """A Prometheus or a VictoriaMetrics; one with secrets is ready when its port is open."""

    def __init__(self, folder, command, *, secured=False):
        super().__init__(folder, command)
        self.ready = "/-/ready" if command[0] == "prometheus" else "/health"
        self._secured = secured

    def _is_ready(self):
        if not self._secured:
            return super()._is_ready()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True


@pytest.fixture
def fleet():
    server = Fleet()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def start(tmp_path):
    started = []

    def run(name, fleet, *more, secured=False):
        assert shutil.which(name), f"{name} is missing: scripts/tools.sh installs it"
        folder = tmp_path / name
        folder.mkdir()
        target = f"127.0.0.1:{fleet.server_address[1]}"
        scraped = {"scrape_configs": [{"job_name": "fleet", "static_configs": [{"targets": [target]}]}]}
        config = {"global": {"scrape_interval": "1s"}, **scraped}
        (folder / "scrape.yml").write_text(yaml.safe_dump(config))
        commands = {
            "prometheus": [
                "--config.file={folder}/scrape.yml",
                "--storage.tsdb.path={folder}/data",
                "--web.listen-address={address}",
            ],
            "victoria-metrics": [
                "-promscrape.config={folder}/scrape.yml",
                "-storageDataPath={folder}/data",
                "-httpListenAddr={address}",
                "-search.latencyOffset=1s",
            ],
        }
        started.append(Server(folder, [name, *commands[name], *more], secured=secured))
        return started[-1].start()

    yield run
    for server in started:
        server.stop()


def source(server, **more):
    return {"main": {"url": server.url, "interval": "5s", "staleness": "12s", **more}}


def no_data(served):
    (slo,) = served.status()["slos"]
    return slo["noData"]


def variant(served):
    return served.status()["models"][0]["variant"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prometheus", "victoria-metrics"])
def test_a_fleets_slo_drives_the_policy_and_without_data_it_holds(daemon, start, fleet, name):
    server = start(name, fleet)
    served = daemon(slos=SLO, policy=POLICY, prometheus=source(server))
    until(lambda: no_data(served) is None, 30, "the source answers")
    assert served.metric("sloctl_source_up", source="main") == 1
    fleet.bad = 60
    until(lambda: variant(served) == "rough", 30, "the burn is seen")
    server.stop()
    fleet.bad = 0
    said = until(lambda: no_data(served), 40, "no data is told")
    assert said.startswith("Prometheus main: ")
    served.wait_metric(1, "sloctl_slo_no_data", slo="fleet")
    decided = len(served.get("/api/v1/decisions")[1]["decisions"])
    time.sleep(3)  # many ticks, in which nothing may be decided for want of data
    assert variant(served) == "rough"
    assert len(served.get("/api/v1/decisions")[1]["decisions"]) == decided
    server.start()
    until(lambda: no_data(served) is None, 40, "it answers again")
    until(lambda: variant(served) == "exact", 40, "the burn is over")


@pytest.mark.slow
def test_what_a_prometheus_has_seen_can_be_gone_over_again(start, fleet, tmp_path):
    server = start("prometheus", fleet)
    fleet.bad = 60
    time.sleep(12)  # some scrapes
    (tmp_path / "slo.yaml").write_text(SLO)
    began, ended = (datetime.fromtimestamp(time.time() - ago, UTC).strftime("%Y-%m-%dT%H:%M:%S") for ago in (60, 0))
    command = [sys.executable, "-m", "sloctl.cli.main", "backtest", str(tmp_path / "slo.yaml"), "--json"]
    asked = ["--prometheus", server.url, "--from", began, "--to", ended, "--step", "5s"]
    done = subprocess.run([*command, *asked], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    alerts = json.loads(done.stdout)["alerts"]
    assert ("fleet", "page") in {(alert["slo"], alert["tier"]) for alert in alerts}
    assert max(alert["burnRate"] for alert in alerts) == pytest.approx(60, rel=0.2)


@pytest.mark.slow
def test_secrets_come_from_files_over_tls_and_a_wrong_one_is_told(daemon, start, fleet, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run(
        [*make, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    web = {
        "tls_server_config": {"cert_file": str(certificate), "key_file": str(key)},
        "basic_auth_users": {"sre": HASHED},
    }
    (tmp_path / "web.yml").write_text(yaml.safe_dump(web))
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    server = start("prometheus", fleet, f"--web.config.file={tmp_path / 'web.yml'}", secured=True)
    asked = {"url": server.url.replace("http:", "https:"), "interval": "5s", "staleness": "12s", "caFile": "ca.pem"}
    served = daemon(slos=SLO, policy=POLICY, prometheus={"main": {**asked, "user": "sre", "passwordFile": "secret"}})
    until(lambda: "401" in (no_data(served) or ""), 20, "the wrong password is told")
    secret.write_text(PASSWORD)  # read anew with each question
    until(lambda: no_data(served) is None, 40, "the right one opens")
