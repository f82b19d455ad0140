"""A real Alertmanager and a real Prometheus beside a daemon."""

import json
import socket
import subprocess
import urllib.request
from contextlib import suppress

import yaml
from prometheus_client.parser import text_string_to_metric_families
from running_daemon import until


def free_port():
    """A port that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(15)
            self._process = None


class Alertmanager(Process):
    """prometheus-alertmanager without a cluster, which notifies nobody."""

    def __init__(self, folder):
        super().__init__(
            folder,
            [
                "prometheus-alertmanager",
                "--config.file={folder}/alertmanager.yml",
                "--storage.path={folder}/data",
                "--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
        )
        config = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))

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
    """prometheus that scrapes a daemon and sends to an Alertmanager."""

    def __init__(self, folder, *, target, rules, alertmanager, interval="1s"):
        super().__init__(
            folder,
            [
                "prometheus",
                "--config.file={folder}/prometheus.yml",
                "--storage.tsdb.path={folder}/data",
                "--web.listen-address={address}",
            ],
        )
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
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        name = "prometheus_notifications_sent_total"
        return sum(each.value for family in families for each in family.samples if each.name == name)
