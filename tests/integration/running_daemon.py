"""A daemon in processes of its own, as its users meet it: a command line, two ports, signals."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import yaml
from prometheus_client.parser import text_string_to_metric_families

SLOCTL = [sys.executable, "-m", "sloctl.cli.main"]
MODEL = {"name": "tiny", "variants": ["exact", "rough"], "maxBatch": 4, "deadline": "5s", "profile": {"interval": "0s"}}
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": list(range(16))}]}

SLOS = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: tiny-availability}
spec:
  service: tiny
  indicator:
    metadata: {name: tiny-availability}
    spec:
      ratioMetric:
        counter: true
        good:
          metricSource: {type: sloctl, spec: {metric: sloctl_requests_total, labels: {model: tiny, outcome: ok}}}
        total:
          metricSource:
            type: sloctl
            spec: {metric: sloctl_requests_total, labels: {model: tiny, outcome: [ok, error]}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: without error, target: 0.99}]
"""

IDLE_POLICY = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: idle}
spec:
  model: tiny
  ladder: [exact, rough]
  rules: []
"""

EAGER_POLICY = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: eager}
spec:
  model: tiny
  ladder: [exact, rough]
  accuracyFloor: 0.9
  dwell: 100ms
  cooldown: 200ms
  rules:
    - name: busy
      when: offered_rate > 5
      until: offered_rate < 1
      for: 100ms
      action: {precision: down}
"""


def write_config(folder, *, policy=IDLE_POLICY, slos=SLOS, **fields):
    """Writes the three files and returns the path of the daemon's."""
    (folder / "slo.yaml").write_text(slos)
    (folder / "policy.yaml").write_text(policy)
    config = {
        "apiVersion": "sloctl/v1",
        "kind": "Daemon",
        "serving": {"port": 0, "drainTimeout": "5s"},
        "control": {"port": 0, "tick": "100ms"},
        "health": {"interval": "500ms"},
        "slos": ["slo.yaml"],
        "policies": ["policy.yaml"],
        "models": [MODEL],
        **fields,
    }
    path = folder / "sloctl.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def until(condition, timeout, what):
    """Polls until `condition()` is true and returns its value; fails the test after `timeout` seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with suppress(OSError, http.client.HTTPException):
            if found := condition():
                return found
        time.sleep(0.03)
    raise AssertionError(f"not within {timeout} s: {what}")


def request(port, method, path, body=None, headers=None):
    """(status, headers, body) of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        data = json.dumps(body) if body is not None else None
        connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


class Daemon:
    """`sloctl serve` on a configuration; it can be stopped, killed and started again on the same state.

    `environment` is added to this process's own.
    """

    def __init__(self, config, **environment):
        self.config = config
        self.environment = os.environ | environment
        self.process = None
        self.said = []
        self.serving = self.control = 0

    def start(self, *, wait=True):
        command = [*SLOCTL, "serve", "-c", str(self.config), "--log-text"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self.environment)
        self.said.clear()
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,))
        self._reader.start()
        self.serving, self.control = (until(lambda n=n: self._port(n), 20, n) for n in ("serving", "control"))
        if wait:
            self.wait_ready(20)

    def _read(self, stream):
        with stream:
            self.said.extend(iter(stream.readline, ""))  # keeps the pipe empty, and what was said for messages

    def _port(self, name):
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}: {self.output}")
        found = re.search(rf"{name} on http://127.0.0.1:(\d+)", self.output)
        return int(found[1]) if found else None

    @property
    def output(self):
        return "".join(list(self.said))

    def wait_ready(self, timeout):
        until(lambda: self.get("/health/ready")[0] == 200, timeout, f"ready; it said:\n{self.output}")

    # Control plane

    def get(self, path):
        status, _, body = request(self.control, "GET", path)
        return status, json.loads(body)

    def post(self, path, body, **headers):
        status, _, answer = request(self.control, "POST", path, body, headers)
        return status, json.loads(answer)

    def status(self):
        return self.get("/api/v1/status")[1]

    def pid(self, plane):
        return self.status()["planes"][plane]["pid"]

    def metrics(self):
        """{(name, frozenset of labels): value} of every sample."""
        _, _, body = request(self.control, "GET", "/metrics")
        families = text_string_to_metric_families(body.decode())
        return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}

    def metric(self, name, **labels):
        """Sum of the samples of a name that have these labels; fails if there are none."""
        found = [v for (n, have), v in self.metrics().items() if n == name and labels.items() <= dict(have).items()]
        assert found, f"no sample of {name} {labels}"
        return sum(found)

    def wait_metric(self, value, name, **labels):
        """Waits for a value: what is exported is as old as the last tick."""
        until(lambda: self.metric(name, **labels) == value, 5, f"{name}{labels} is {value}")

    def cli(self, *words):
        """Runs another sloctl command against this daemon."""
        return subprocess.run(
            [*SLOCTL, *words, "--url", f"http://127.0.0.1:{self.control}"],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        )

    # Data plane

    def infer(self, body=BODY):
        return request(self.serving, "POST", "/v2/models/tiny/infer", body)

    # Ends

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(15)
        self._reader.join(5)
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        """Leaves nothing behind, whatever state the test left it in."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join(15)


class Load(threading.Thread):
    """One client on one connection, request after request; `failures` are the answers other than 200."""

    def __init__(self, daemon, pause, body=BODY):
        super().__init__(daemon=True)
        self._daemon, self._pause, self._body, self._end = daemon, pause, json.dumps(body), threading.Event()
        self.answered, self.failures, self.variants = 0, [], []
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self._daemon.serving, timeout=10)
        while not self._end.wait(self._pause):
            try:
                connection.request("POST", "/v2/models/tiny/infer", self._body, {"content-type": "application/json"})
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                continue
            if answer.status == 200:
                self.answered += 1
                self.variants.append(answer.headers["sloctl-variant"])
            else:
                self.failures.append((answer.status, said.decode()))
        connection.close()

    def stop(self):
        self._end.set()
        self.join(15)


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
