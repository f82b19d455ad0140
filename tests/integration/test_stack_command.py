"""`sloctl stack`: all of it comes up, an alert goes round, and nothing is left behind."""

import os
import re
import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from running_daemon import SLOCTL, alive, request, until
from running_monitoring import needs_alertmanager, needs_prometheus

from sloctl.cli._digits import prepare
from sloctl.cli.stack_programs import ports
from sloctl.config.resources import resource

pytestmark = pytest.mark.integration
slow = pytest.mark.slow

FREE = ["--serving=0", "--control=0", "--prometheus=0", "--alertmanager=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all tests: the models are made once, which takes a while."""
    root = tmp_path_factory.mktemp("stack")
    prepare(root / "repository", resource("examples/digits"), lambda _: None)
    return root


def processes(folder):
    """Processes whose command line names a file of the folder, by their program."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and alive(int(entry.name)):
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if any(str(folder) in word for word in words) and "stack" not in words:
                found[Path(words[0]).name] = int(entry.name)
    return found


class Stack:
    """A running `sloctl stack`."""

    def __init__(self, folder, *options):
        command = [*SLOCTL, "stack", "--dir", str(folder), *FREE, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = []
        self._reader = threading.Thread(target=lambda: self.said.extend(iter(self.process.stdout.readline, "")))
        self._reader.start()

    @property
    def output(self):
        return "".join(list(self.said))

    def port(self, name):
        return int(re.search(rf"{name} +http://127.0.0.1:(\d+)", self.output)[1])

    def wait(self, text):
        until(lambda: text in self.output or self.process.poll() is not None, 90, text)
        assert self.process.poll() is None, self.output

    def end(self, number):
        self.process.send_signal(number)
        return self.join()

    def join(self):
        code = self.process.wait(75)
        self._reader.join(5)
        self.process.stdout.close()
        return code


@pytest.fixture
def start(folder):
    started = []

    def run(*options):
        started.append(Stack(folder, *options))
        return started[-1]

    yield run
    for each in started:
        if each.process.poll() is None:
            each.end(signal.SIGTERM)


@slow
@needs_prometheus
@needs_alertmanager
def test_once_it_tests_itself_and_ends(folder, start):
    stack = start("--once")
    assert stack.join() == 0, stack.output
    steps = ("Prometheus scrapes the daemon", "its rules are evaluated", "an alert came back", "the stack works")
    places = [stack.output.index(step) for step in steps]
    assert places == sorted(places)
    assert processes(folder) == {}


@slow
@needs_prometheus
@needs_alertmanager
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it(folder, start, number):
    stack = start("--no-load")
    stack.wait("Ctrl-C ends")
    assert set(processes(folder)) >= {"prometheus", "prometheus-alertmanager"}
    assert len(set(processes(folder))) == 3, "and the daemon"
    for name, path in (("Prometheus", "/-/ready"), ("Alertmanager", "/-/ready"), ("control", "/health/ready")):
        assert request(stack.port(name), "GET", path)[0] == 200
    assert request(stack.port("control"), "POST", "/api/v1/alerts", {})[0] == 401, "it wants the token"
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    assert stack.end(number) == 0, stack.output
    assert processes(folder) == {}


@slow
@needs_prometheus
@needs_alertmanager
def test_one_that_ends_takes_the_others_along(folder, start):
    stack = start("--no-load")
    stack.wait("Ctrl-C ends")
    os.kill(processes(folder)["prometheus"], signal.SIGKILL)
    assert stack.join() == 1
    assert f"error: prometheus ended with status {-signal.SIGKILL}" in stack.output
    assert processes(folder) == {}


@slow
@needs_prometheus
@needs_alertmanager
def test_a_signal_before_it_is_up_ends_all_of_it(folder, start):
    stack = start()
    stack.wait("sloctl is up")
    assert stack.end(signal.SIGINT) == 130, stack.output
    until(lambda: processes(folder) == {}, 5, "nothing is left")  # a helper that takes a sample ends in a moment


def test_a_program_that_is_missing_is_named_with_its_package(tmp_path):
    done = subprocess.run(
        [*SLOCTL, "stack", "--dir", str(tmp_path), "--once"],
        capture_output=True, text=True, check=False, timeout=30, env={**os.environ, "PATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: prometheus and alertmanager not found" in done.stderr
    assert "apt-get install prometheus prometheus-alertmanager" in done.stderr


def test_ports_are_those_wanted_where_they_are_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        found = ports((busy, 0, 0))
        assert busy not in found
        assert len(set(found)) == 3
    assert ports(found) == found
