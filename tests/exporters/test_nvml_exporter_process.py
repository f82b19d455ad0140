"""The exporter as its users meet it: a process on a machine without a driver, scraped by a real Prometheus."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sloctl_exporters.nvml import NvmlSource
from sloctl_exporters.nvml_server import LIMIT, MOST, Server, main
from sloctl_exporters.nvml_ticker import Ticker

COMMAND = [sys.executable, "-m", "sloctl_exporters.nvml_server"]
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Exporter:
    """A running process; `close` ends it with SIGTERM and gives what it wrote."""

    def __init__(self, *options: str) -> None:
        # A machine with a driver must look like one without.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", *options], stderr=subprocess.PIPE, text=True, env=environment
        )
        self.log: list[str] = []
        assert self.process.stderr
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/metrics", line):
                self.port = int(found[1])
                return
        pytest.fail(f"it ended: {self.log}")

    def get(self, path: str, accept: str = "*/*") -> tuple[int, str, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"accept": accept})
        try:
            with _opener.open(request, timeout=10) as answer:
                return answer.status, answer.headers["content-type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["content-type"], error.read().decode()

    def close(self) -> tuple[int, str]:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate(timeout=20)
        return self.process.returncode, "".join(self.log) + rest


def has_driver() -> bool:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    pynvml.nvmlShutdown()
    return True


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    running = Exporter("--names", "both", "--expected", "2", "--interval", "100ms")
    yield running
    running.close()


@pytest.mark.integration
@pytest.mark.skipif(has_driver(), reason="there is a driver here")
def test_without_a_driver_it_says_so_and_stays_up(exporter: Exporter) -> None:
    status, kind, body = exporter.get("/health")
    health = json.loads(body)
    assert (status, kind, health["status"]) == (200, "application/json", "ok")
    assert health["driver"].startswith("no driver: ")
    assert health["gpus"] == {"present": 0, "expected": 2}
    values = {s.name: s.value for f in parse_text(exporter.get("/metrics")[2]) for s in f.samples}
    assert (values["sloctl_nvml_up"], values["sloctl_gpus_present"], values["sloctl_gpus_expected"]) == (0, 0, 2)
    assert values["process_resident_memory_bytes"] < 200e6
    assert values["process_cpu_seconds_total"] > 0
    assert exporter.process.poll() is None


@pytest.mark.integration
def test_a_scraper_gets_the_format_that_it_asks_for(exporter: Exporter) -> None:
    status, kind, body = exporter.get("/metrics", "application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert (status, kind.split(";")[0]) == (200, "application/openmetrics-text")
    assert list(parse_openmetrics(body))
    status, kind, body = exporter.get("/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert exporter.get("/other")[0] == 404


@pytest.mark.integration
def test_readings_go_on_between_scrapes(exporter: Exporter) -> None:
    def reads() -> float:
        text = exporter.get("/metrics")[2]
        return float(re.findall(r"^sloctl_nvml_read_duration_seconds_count (\S+)", text, re.MULTILINE)[0])

    first = reads()
    for _ in range(200):
        if reads() > first + 1:
            return
        time.sleep(0.05)
    pytest.fail("no reading was made")


@pytest.mark.integration
@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here: apt-get install prometheus")
def test_a_real_prometheus_scrapes_it(exporter: Exporter, dashboard_queries: ModuleType, tmp_path: Path) -> None:
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [
            {"job_name": "gpus", "static_configs": [{"targets": [f"127.0.0.1:{exporter.port}"]}]},
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = [
        str(PROMETHEUS),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        found = wait_for(lambda: dashboard_queries.ask(f"http://127.0.0.1:{port}", "sloctl_gpus_expected"))
        assert found[0]["value"][1] == "2"
        (up,) = dashboard_queries.ask(f"http://127.0.0.1:{port}", 'up{job="gpus"}')
        assert up["value"][1] == "1"
    finally:
        process.terminate()
        process.wait(10)


def wait_for(ask: Callable[[], list[Any]]) -> list[Any]:
    for _ in range(300):
        try:
            if found := ask():
                return found
        except (OSError, AssertionError):  # it starts
            pass
        time.sleep(0.1)
    pytest.fail("no answer")


@pytest.mark.integration
def test_sigterm_ends_it_cleanly() -> None:
    running = Exporter()
    status, log = running.close()
    assert status == 0
    assert "Traceback" not in log


@pytest.mark.integration
@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        pytest.param(["--port", "{taken}"], 3, "error: cannot listen on 127.0.0.1:{taken}:", id="a port in use"),
        pytest.param(["--listen", "no.such.host.invalid"], 3, "error: cannot listen on no.such", id="no such host"),
        pytest.param(["--port", "70000"], 2, "expected a number from 0 to 65535", id="no such port"),
        pytest.param(["--interval", "5"], 2, "expected a duration such as 250ms", id="no unit"),
        pytest.param(["--interval", "10ms"], 2, "expected 100ms to 60s", id="too often"),
        pytest.param(["--names", "nvidia"], 2, "invalid choice", id="no such names"),
        pytest.param(["--expected", "-1"], 2, "--expected", id="fewer than no GPUs"),
    ],
)
def test_what_is_wrong_is_said_to_people(options: list[str], status: int, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        filled = [option.format(taken=port) for option in options]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [*COMMAND, *filled], capture_output=True, text=True, check=False, timeout=30, env=environment
        )
    assert (done.returncode, message.format(taken=port) in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


# --- without a process


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def served(ticker: Ticker, clock: Callable[[], float] = time.monotonic) -> Iterator[tuple[str, int]]:
    """Serves a ticker in a thread; gives the address."""
    server = Server(("127.0.0.1", 0), ticker, clock)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield "127.0.0.1", server.server_address[1]
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def ticker(fake_nvml: ModuleType) -> Ticker:
    made = Ticker(NvmlSource(fake_nvml.FakeNvml(), visible=""), 1.0)
    made.tick()
    return made


def answer(connection: socket.socket) -> bytes:
    """The status line of an answer; empty if it was closed without one."""
    connection.settimeout(10)
    return connection.recv(15)


def test_a_client_that_takes_too_long_over_its_request_is_cut_off(ticker: Ticker) -> None:
    clock = Clock()
    with served(ticker, clock) as address, socket.create_connection(address) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nx: y\r\n\r\n")
        assert answer(slow) == b"HTTP/1.1 200 OK"
        slow.sendall(b"GET /health HTTP/1.1\r\n")
        clock.now += LIMIT + 1
        slow.settimeout(5)
        while slow.recv(1000):  # what was left of the answer
            pass


def test_connections_beyond_the_most_are_closed_until_one_has_ended(ticker: Ticker) -> None:
    with served(ticker) as address, ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(address)) for _ in range(MOST)]
        more = stack.enter_context(socket.create_connection(address))
        assert answer(more) == b""
        held[0].close()
        url = f"http://127.0.0.1:{address[1]}/metrics"
        assert wait_for(lambda: [_opener.open(url).status]) == [200]


def test_scrapes_share_a_reading(fake_nvml: ModuleType) -> None:
    nvml = fake_nvml.FakeNvml()
    ticker = Ticker(NvmlSource(nvml, visible=""), 1.0)
    ticker.tick()
    calls = nvml.calls.copy()
    with served(ticker) as (host, port):
        bodies = {_opener.open(f"http://{host}:{port}/metrics").read().split(b"# HELP process_")[0] for _ in range(5)}
    assert len(bodies) == 1
    assert b"sloctl_gpu_temperature_celsius" in bodies.pop()
    assert nvml.calls == calls


def test_values_of_a_reading_that_hangs_are_not_shown_as_if_they_were_new(fake_nvml: ModuleType) -> None:
    clock = Clock()
    ticker = Ticker(NvmlSource(fake_nvml.FakeNvml(), visible=""), 1.0, clock, devices=("cuda:0",))
    ticker.tick()
    assert "sloctl_gpu_temperature_celsius" in {f.metric.name for f in ticker.families()}
    assert ticker.facts()["cuda:0"].memory_total > 0
    assert ticker.health()["status"] == "ok"
    clock.now += 11
    assert ticker.health()["status"] == "stale"
    shown = {f.metric.name: f.samples for f in ticker.families()}
    assert shown["sloctl_nvml_up"] == [((), 0.0)]
    assert "sloctl_nvml_last_success_timestamp_seconds" in shown
    assert not [name for name in shown if name.startswith("sloctl_gpu_")]
    assert ticker.facts() == {}


def test_a_mistake_in_a_reading_does_not_end_the_readings(
    fake_nvml: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = NvmlSource(fake_nvml.FakeNvml(), visible="")
    ticker = Ticker(source, 1.0, Clock())
    monkeypatch.setattr(source, "read", lambda: 1 / 0)
    ticker.tick()
    monkeypatch.undo()
    ticker.tick()
    assert ticker.families()


def test_the_console_script_is_this_function() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["sloctl-nvml-exporter"] == f"{main.__module__}:{main.__name__}"
