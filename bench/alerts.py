"""From a total outage to the alert in Alertmanager, directly and through Prometheus: `python -m bench alerts`.

Each round starts a daemon anew, a Prometheus that scrapes it and evaluates its generated rules every 15 s, and two
Alertmanagers: one hears from the daemon, the other from Prometheus. After `WARM_UP` seconds of good requests all of
them fail. The SLO is 99.9 % over 30 days with the SRE workbook's windows, so a page wants 1.44 % of the last hour to be
bad, or 0.6 % of the last six: 52 s of an outage after an hour of steady traffic, and the sooner the shorter the past.
That part is arithmetic, the same on both ways, and is said apart. BENCH_ROUNDS and BENCH_WARM_UP change how often and
how long.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.plans import Connection, Daemon, daemon, sloctl
from bench.serving import free_port, make_model

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WARM_UP = float(os.environ.get("BENCH_WARM_UP", "90"))
EVERY = 15  # seconds between scrapes, and between evaluations
LOOK = 0.02  # seconds between two looks into the Alertmanagers
RATE = 50.0  # requests a second
PATIENCE = 180.0
BURNING = 6 * 0.001  # share of bad events at which a page begins, while no window reaches back beyond the start
CONFIG = """
apiVersion: sloctl/v1
kind: Daemon
serving: {{port: 0}}
control: {{port: 0}}
slos: [slo.yaml]
faultInjection: true
alerts: {{alertmanagers: [{{url: "{alertmanager}"}}]}}
models: [{{name: tiny, variants: [fp32], profile: {{interval: 0s}}, breaker: {{enabled: false}}}}]
"""
SLO = """
apiVersion: sloctl/v1
kind: ServiceLevel
metadata: {name: tiny}
spec:
  model: tiny
  objectives: [{name: success, sli: success, target: 99.9%}]
"""
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16}]}).encode()


@dataclass
class Load:
    """One client that sends at a steady rate; `first_bad` is the moment of the first answer that is no 200."""

    server: Daemon
    sent: int = 0
    first_bad: float | None = None
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(10)

    def _run(self) -> None:
        connection = Connection(self.server.serving, timeout=10)
        request = connection.request("/v2/models/tiny/infer", BODY)
        while not self._end.wait(1 / RATE):
            status, _, _ = connection.exchange(request)
            self.sent += 1
            if status != 200 and self.first_bad is None:
                self.first_bad = time.monotonic()


@dataclass
class Arrival:
    """Looks into an Alertmanager until the page is there."""

    url: str
    at: float | None = None

    def start(self) -> threading.Thread:
        """Looks from a thread, which ends when it is there or patience is over."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        give_up = time.monotonic() + PATIENCE
        while self.at is None and time.monotonic() < give_up:
            with suppress(OSError, ValueError):
                if any(alert["labels"].get("sloctl_tier") == "page" for alert in get(f"{self.url}/api/v2/alerts")):
                    self.at = time.monotonic()
            time.sleep(LOOK)


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


@contextmanager
def server(folder: Path, command: list[str], port: int) -> Iterator[str]:
    """A server of the monitoring, from when it is ready; its URL."""
    address = f"http://127.0.0.1:{port}"
    with (folder / f"{command[0]}-{port}.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with suppress(OSError), urllib.request.urlopen(f"{address}/-/ready", timeout=1):
                break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{command[0]} did not become ready")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def alertmanager(folder: Path, name: str) -> Any:
    config = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    (folder / f"{name}.yml").write_text(yaml.safe_dump(config))
    files = [f"--config.file={folder}/{name}.yml", f"--storage.path={folder}/{name}", "--cluster.listen-address="]
    return server(folder, ["prometheus-alertmanager", *files], free_port())


def prometheus(folder: Path, target: str, manager: str) -> Any:
    """Scrapes and evaluates every 15 s: also the rules, which as generated would have 30 s."""
    rules = yaml.safe_load(sloctl("rules", str(folder / "slo.yaml")))
    for group in rules["groups"]:
        group["interval"] = f"{EVERY}s" if group["interval"] == "30s" else group["interval"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    config = {
        "global": {"scrape_interval": f"{EVERY}s", "evaluation_interval": f"{EVERY}s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "sloctl", "static_configs": [{"targets": [target]}]}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager.removeprefix("http://")]}]}]},
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    files = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    return server(folder, ["prometheus", *files], free_port())


@dataclass(frozen=True)
class Round:
    """Seconds from the first bad answer to the page."""

    direct: float
    scraped: float
    arithmetic: float


def play(folder: Path) -> Round:
    make_model("tiny", folder / "repository" / "tiny" / "fp32")
    (folder / "slo.yaml").write_text(SLO)
    with ExitStack() as stack:
        direct, scraped = (stack.enter_context(alertmanager(folder, name)) for name in ("direct", "scraped"))
        node = stack.enter_context(daemon(folder, CONFIG.format(alertmanager=direct)))
        stack.enter_context(prometheus(folder, node.control.removeprefix("http://"), scraped))
        load = stack.enter_context(Load(node))
        time.sleep(WARM_UP + random.uniform(0, EVERY))  # so that no round begins at the same point between scrapes
        good = load.sent
        arrivals = [Arrival(direct), Arrival(scraped)]
        threads = [arrival.start() for arrival in arrivals]
        headers = {"content-type": "application/json"}
        outage = json.dumps({"model": "tiny", "faults": ["error"]}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{node.control}/api/v1/faults", outage, headers)).close()
        for thread in threads:
            thread.join()
        at, (straight, around) = load.first_bad, (arrival.at for arrival in arrivals)
    if at is None or straight is None or around is None:
        raise SystemExit(f"no page within {PATIENCE:g} s: {arrivals}, first bad answer {at}")
    return Round(straight - at, around - at, good * BURNING / (1 - BURNING) / RATE)


def main() -> None:
    """Prints the table."""
    for name in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(name) is None:
            raise SystemExit(f"{name} is not here: scripts/tools.sh installs it")
    rounds = []
    for number in range(ROUNDS):
        print(f"▸ round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            rounds.append(play(Path(scratch)))
    print(f"{ROUNDS} rounds on {os.cpu_count()} cores, {WARM_UP:g} s of good requests first.\n")
    print("| seconds to the page in Alertmanager | median | least | most |\n| --- | --- | --- | --- |")
    for what, found in (
        ("directly", [each.direct for each in rounds]),
        (f"through Prometheus, {EVERY} s", [each.scraped for each in rounds]),
        ("of these, until enough was bad", [each.arithmetic for each in rounds]),
    ):
        print(f"| {what} | {statistics.median(found):.1f} | {min(found):.1f} | {max(found):.1f} |")


if __name__ == "__main__":
    main()
