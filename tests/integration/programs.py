"""Real programs beside a daemon: Alertmanager and Prometheus, each on a port that the system chose."""

import json
import re
import shutil
import subprocess

import pytest
from running_daemon import request, until

ALERTMANAGER, PROMETHEUS = shutil.which("prometheus-alertmanager"), shutil.which("prometheus")
AMTOOL, PROMTOOL = shutil.which("amtool"), shutil.which("promtool")
needs_alertmanager = pytest.mark.skipif(
    not (ALERTMANAGER and AMTOOL), reason="no Alertmanager here: apt-get install prometheus-alertmanager"
)
needs_prometheus = pytest.mark.skipif(
    not (PROMETHEUS and PROMTOOL), reason="no Prometheus here: apt-get install prometheus"
)
_LISTENS = re.compile(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')


class Program:
    """A child process with a log of its own."""

    def __init__(self, log, *command):
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self.port = until(self._port, 20, f"{command[0]} listens; see {log}")
        until(lambda: self.request("GET", "/-/ready")[0] == 200, 20, f"{command[0]} is ready; see {log}")

    def _port(self):
        assert self.process.poll() is None, self.output
        found = _LISTENS.search(self.output)
        return int(found[1]) if found else None

    @property
    def output(self):
        return self._log.read_text()

    def request(self, method, path, body=None):
        """(status, body)."""
        status, _, answer = request(self.port, method, path, body)
        return status, answer

    def get(self, path):
        """The JSON at a path."""
        status, answer = self.request("GET", path)
        assert status == 200, answer
        return json.loads(answer)

    def reload(self):
        assert self.request("POST", "/-/reload")[0] == 200, self.output

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Alertmanager(Program):
    """An Alertmanager of a cluster, or alone; its API takes and shows alerts."""

    def __init__(self, folder, config, *options):
        folder.mkdir(exist_ok=True)
        super().__init__(
            folder / "alertmanager.log",
            ALERTMANAGER,
            f"--config.file={config}",
            f"--storage.path={folder / 'alertmanager'}",
            "--web.listen-address=127.0.0.1:0",
            *(options or ("--cluster.listen-address=",)),
        )

    def post(self, *alerts):
        assert self.request("POST", "/api/v2/alerts", alerts)[0] == 200, self.output

    def alerts(self):
        return self.get("/api/v2/alerts")


class Prometheus(Program):
    """A Prometheus that tells again soon: what fires before it has found its Alertmanagers would wait a minute."""

    def __init__(self, folder, config):
        super().__init__(
            folder / "prometheus.log",
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            "--rules.alert.resend-delay=5s",
            "--web.listen-address=127.0.0.1:0",
        )
