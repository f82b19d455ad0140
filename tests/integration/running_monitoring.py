"""A real Alertmanager and a real Prometheus beside a daemon."""

import json
import shutil
import subprocess
import urllib.request
from contextlib import suppress

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from running_daemon import until

from sloctl.cli.stack_programs import ports

AMTOOL, PROMTOOL = shutil.which("amtool"), shutil.which("promtool")
needs_alertmanager = pytest.mark.skipif(
    not (AMTOOL and shutil.which("prometheus-alertmanager")), reason="no Alertmanager: scripts/tools.sh"
)
needs_prometheus = pytest.mark.skipif(
    not (PROMTOOL and shutil.which("prometheus")), reason="no Prometheus: scripts/tools.sh"
)


def free_port():
    """A port that nobody had a moment ago."""
    return ports([0])[0]


def get(url):
    """JSON of a GET."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


class Process:
    """A server that can be stopped and started again at the same port."""

    ready = "/-/ready"

    def __init__(self, folder, command):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [part.format(folder=folder, address=f"127.0.0.1:{self.port}") for part in command]
        self._process = None

    def start(self):
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self.folder)
        until(self._is_ready, 20, f"{self._command[0]} is ready; it said:\n{(self.folder / 'log').read_text()}")
        return self

    def _is_ready(self):
        with suppress(OSError), urllib.request.urlopen(self.url + self.ready, timeout=1) as answer:
            return answer.status == 200

    def metric(self, name, **labels):
        """The sum of its samples of a name that have these labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        samples = [each for family in families for each in family.samples if each.name == name]
        return sum(each.value for each in samples if labels.items() <= each.labels.items())

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(15)
            self._process = None


class Alertmanager(Process):
    """prometheus-alertmanager without a cluster; without a configuration it notifies nobody."""

    def __init__(self, folder, config=None):
        super().__init__(
            folder,
            [
                "prometheus-alertmanager",
                f"--config.file={config or folder / 'alertmanager.yml'}",
                "--storage.path={folder}/data",
                "--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
        )
        if config is None:
            config = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
            (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))

    def post(self, *alerts):
        """Takes alerts as from a client of its API."""
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", json.dumps(alerts).encode(), headers)
        with urllib.request.urlopen(request, timeout=5):
            pass

    def shown(self):
        """All alerts with their status."""
        return get(f"{self.url}/api/v2/alerts")

    def alerts(self, name):
        """The labels of the active alerts of that name, sorted."""
        found = [a for a in get(f"{self.url}/api/v2/alerts?active=true") if a["labels"]["alertname"] == name]
        return sorted((each["labels"] for each in found), key=lambda labels: sorted(labels.items()))

    def named(self, name, severity):
        """The active alert of that name and severity, or None."""
        found = get(f"{self.url}/api/v2/alerts?active=true")
        wanted = {"alertname": name, "severity": severity}
        return next((each for each in found if wanted.items() <= each["labels"].items()), None)


class Prometheus(Process):
    """prometheus that scrapes a daemon and sends to an Alertmanager, or does what its configuration says."""

    def __init__(self, folder, config=None, *, target="", rules=(), alertmanager="", interval="1s"):
        super().__init__(
            folder,
            [
                "prometheus",
                f"--config.file={config or folder / 'prometheus.yml'}",
                "--storage.tsdb.path={folder}/data",
                "--web.listen-address={address}",
                # What fires before it has found its Alertmanagers would else be told a minute later.
                "--rules.alert.resend-delay=5s",
            ],
        )
        if config is not None:
            return
        config = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [{"job_name": "sloctl", "static_configs": [{"targets": [target]}]}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}]},
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def alerts(self):
        """The labels of the alerts that fire."""
        found = get(f"{self.url}/api/v1/alerts")["data"]["alerts"]
        return [each["labels"] for each in found if each["state"] == "firing"]

    def sent(self):
        """How many alerts Alertmanagers have taken from it."""
        return self.metric("prometheus_notifications_sent_total")
