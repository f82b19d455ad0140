"""Every query of every dashboard, asked of a real Prometheus that scrapes real daemons through a bad minute.

One daemon does nothing and has no GPU: what its panels cannot show they must explain. The other one is loaded,
overloaded, switches precision, sheds, fails until its breaker opens and its SLO's alerts fire, recovers, and is
reloaded; its GPU is the recorded one. Prometheus evaluates the rules of `sloctl rules` for the same SLO.
"""

import http.client
import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from running_daemon import BODY, MODEL, SLOCTL, SLOS, Daemon, request, until, write_config
from running_monitoring import Alertmanager, Prometheus, needs_alertmanager, needs_prometheus

from sloctl.engines.loading import cpu_name
from sloctl.engines.manifest import Accuracy, write_manifest
from sloctl.engines.measure import make_manifest
from sloctl.engines.onnx import OnnxEngine
from sloctl_exporters import grafana

pytestmark = [pytest.mark.integration, pytest.mark.slow, needs_prometheus, needs_alertmanager]
HERE = Path(__file__).parent
BOARDS = {board["uid"]: board for board in grafana.dashboards()}
each_board = pytest.mark.parametrize("uid", BOARDS)

WINDOWS = """\
apiVersion: sloctl/v1
kind: AlertWindows
metadata: {name: short}
spec:
  period: 1h
  windows:
  - {name: page, severity: page, share: 0.04, long: 10s, short: 4s}
  - {name: ticket, severity: ticket, share: 0.02, long: 20s, short: 10s}
"""
# Asked of the Prometheus that scrapes the daemon, so without data until that is up.
ASKED_SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: asked}
spec:
  service: tiny
  indicator:
    metadata: {name: asked}
    spec:
      ratioMetric:
        counter: true
        bad:
          metricSource:
            type: Prometheus
            spec: {query: 'increase(sloctl_requests_total{outcome="error", job="busy"}[{{.window}}])'}
        total:
          metricSource:
            type: Prometheus
            spec: {query: 'increase(sloctl_requests_total{job="busy"}[{{.window}}])'}
  timeWindow: [{duration: 1h, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: answered, target: 0.99}]
"""
POLICY = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: tiny}
spec:
  model: tiny
  ladder: [exact, rough]
  accuracyFloor: 0.9
  dwell: 100ms
  cooldown: 500ms
  restore: 500ms
  rules:
  - name: busy
    when: offered_rate > 30
    until: offered_rate < 10
    action: {precision: down}
  - name: calm
    when: offered_rate < 10
    for: 1s
    action: {precision: up}
  - name: too-busy
    when: offered_rate > 60
    until: offered_rate < 20
    action: {shed: {admitRate: 20}}
"""
BREAKER = {"slidingWindowSize": 20, "minimumNumberOfCalls": 5, "waitDurationInOpenState": "1s"}
# Values that a GPU, a variant or a configuration has once and for all; and what this machine cannot make happen.
STILL = {
    *("Objective", "Accuracy", "Memory of variants", "Version", "GPUs", "Driver answers", "GPUs that answer"),
    *("GPUs expected", "MIG", "Instances", "SLOs", "Daemons not ready", "Ready", "Devices", "Data"),
    *("Reserved memory", "Context switches", "Layers in (other)", "Writes that failed"),
    # A model so small that each of its batches stands alone, and tells nothing.
    "Time of batches, and as measured",
    # Who would record its silence is the source itself.
    *("Sources", "Rounds without an answer"),
    *("Maintenance", "Events left out"),
}
# It needs a CUDA device; and this GPU tells everything.
NOT_HERE = {"Unaccounted device memory", "What GPUs do not tell"}


def load_queries():
    name = "dashboard_queries"
    if name not in sys.modules:
        path = HERE.parent / "exporters" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


queries = load_queries()


# --- the daemons


def deep_model(path):
    """x times four matrices, with something in between: enough layers to have slow ones and others."""
    nodes, weights, name = [], [], "x"
    for step in range(4):
        weights.append(numpy_helper.from_array(np.eye(16, dtype=np.float32) * 0.5, f"w{step}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{step}"], [f"m{step}"]))
        nodes.append(helper.make_node("Sigmoid" if step % 2 else "Tanh", [f"m{step}"], [f"s{step}"]))
        name = f"s{step}"
    shape = ["n", 16]
    ends = (helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each in ("x", name))
    graph = helper.make_graph(nodes, "tiny", [next(ends)], [next(ends)], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True)
    onnx.save(made, str(path))


@pytest.fixture(scope="module")
def deep_repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("deep")
    for variant, value in (("exact", 0.99), ("rough", 0.97)):
        path = root / "tiny" / variant / "model.onnx"
        deep_model(path)
        engine = OnnxEngine(path, threads=1, max_batch=8)
        measured = Accuracy(value=value, samples=100, data="made up")
        manifest = make_manifest(
            path, engine, precision=variant, runtime="onnxruntime", device_name=cpu_name(), measured=measured
        )
        write_manifest(path.parent, manifest)
        engine.close()
    return root


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    server = Alertmanager(tmp_path_factory.mktemp("alertmanager")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def monitor(tmp_path_factory):
    """A Prometheus that is not started: the daemons have to know its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    return Prometheus(folder, folder / "prometheus.yml")


@pytest.fixture(scope="module")
def daemons(tmp_path_factory, deep_repository, alertmanager, monitor):
    """An idle one without a GPU, and one that a life waits for."""
    idle, busy = (tmp_path_factory.mktemp(name) for name in ("idle", "busy"))
    (busy / "windows.yaml").write_text(WINDOWS)
    profile = {"interval": "200ms", "share": 0.5, "topLayers": 3}
    model = {**MODEL, "profile": profile, "breaker": BREAKER, "batchWait": "5ms"}
    write_config(idle, repository=str(deep_repository))
    write_config(
        busy,
        policy=POLICY,
        slos=f"{SLOS.replace('duration: 30d', 'duration: 1h')}---\n{ASKED_SLO}",
        prometheus={"main": {"url": monitor.url, "interval": "5s", "staleness": "12s"}},
        repository=str(deep_repository),
        faultInjection=True,
        tenants={"each": {"acme": {"weight": 2}}},
        windows="windows.yaml",
        models=[model],
        telemetry={"gpu": {"expected": 1}},
        alerts={"alertmanagers": [{"url": alertmanager.url}]},
    )
    path = os.pathsep.join([str(HERE / "recorded_gpu"), *sys.path])
    started = [Daemon(idle / "sloctl.yaml"), Daemon(busy / "sloctl.yaml", PYTHONPATH=path)]
    for each in started:
        each.start()
    yield started
    for each in started:
        each.close()


# --- Prometheus


@pytest.fixture(scope="module")
def prometheus(daemons, monitor):
    """The address of one that scrapes both daemons every second, with the busy one's rules."""
    source = daemons[1].config.parent
    words = [*SLOCTL, "rules", str(source / "slo.yaml"), "--windows", str(source / "windows.yaml")]
    subprocess.run([*words, "-o", str(monitor.folder / "rules.yml")], check=True, capture_output=True)
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{daemon.control}"]}]}
        for name, daemon in zip(("idle", "busy"), daemons, strict=True)
    ]
    times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = {"global": times, "rule_files": ["rules.yml"], "scrape_configs": jobs}
    (monitor.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    monitor.start()
    until(lambda: len(queries.ask(monitor.url, "up == 1")) == 2, 20, "both daemons are scraped")
    yield monitor.url
    monitor.stop()


# --- what happens


class Clients:
    """Threads that send requests of all classes, each one after the other, about `rate` a second together."""

    def __init__(self, daemon, rate, count=8):
        self._daemon, self._pause, self._end = daemon, count / rate, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(1 + n % 3,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self, priority):
        body = json.dumps(BODY | {"parameters": {"priority": priority}})
        connection = http.client.HTTPConnection("127.0.0.1", self._daemon.serving, timeout=10)
        while not self._end.wait(self._pause):
            with suppress(OSError, http.client.HTTPException):
                connection.request("POST", "/v2/models/tiny/infer", body, {"content-type": "application/json"})
                connection.getresponse().read()
        connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end.set()
        for thread in self._threads:
            thread.join(15)


def faults(daemon, *names):
    assert daemon.post("/api/v1/faults", {"model": "tiny", "faults": names})[0] == 200


def alert(daemon, status):
    """What an Alertmanager would send."""
    labels = {"alertname": "SloctlErrorBudgetBurn", "severity": "page"}
    ends = "0001-01-01T00:00:00Z" if status == "firing" else "2026-01-01T00:01:00Z"
    one = {"status": status, "labels": labels, "annotations": {}, "fingerprint": "4b1e"}
    one |= {"startsAt": "2026-01-01T00:00:00Z", "endsAt": ends}
    body = {"version": "4", "groupKey": "{}", "receiver": "sloctl", "status": status, "alerts": [one]}
    assert daemon.post("/api/v1/alerts", body)[0] == 200


def live(daemon):
    """The bad minute."""
    with Clients(daemon, 5):
        time.sleep(3)
    with Clients(daemon, 200):  # too much: less precision, then shedding
        until(lambda: daemon.status()["models"][0]["variant"] == "rough", 10, "precision goes down")
        until(lambda: min(daemon.status()["models"][0]["admit"].values()) < 1, 10, "something is shed")
        faults(daemon, "slow")
        time.sleep(3)  # a queue stands
        faults(daemon)
    with Clients(daemon, 25):
        faults(daemon, "error")
        until(lambda: daemon.status()["models"][0]["breaker"] != "closed", 10, "the breaker opens")
        alert(daemon, "firing")
        until(
            lambda: daemon.metric("sloctl_slo_alert_firing", slo="tiny-availability") == 2,
            20,
            "the SLO's page and ticket fire",
        )
        time.sleep(3)
        faults(daemon)
        until(lambda: daemon.status()["models"][0]["breaker"] == "closed", 20, "the breaker closes")
        alert(daemon, "resolved")
        policy = daemon.config.parent / "policy.yaml"
        policy.write_text(POLICY.replace("offered_rate > 30", "offered_rats > 30"))
        assert daemon.post("/api/v1/reload", {})[0] == 422
        time.sleep(2)
        policy.write_text(POLICY)
        assert daemon.post("/api/v1/reload", {})[0] == 200
    override = {"model": "tiny", "kind": "variant", "value": "rough", "expires": "2s"}
    assert daemon.post("/api/v1/overrides", override)[0] == 201
    data = daemon.pid("data")
    os.kill(data, signal.SIGSTOP)  # killed at once it may be back before anybody has looked
    until(lambda: daemon.metric("sloctl_plane_up", plane="data") == 0, 8, "the data plane is down")
    time.sleep(1.5)  # a scrape and a half
    os.kill(data, signal.SIGKILL)
    daemon.wait_ready(20)
    with Clients(daemon, 5):
        until(lambda: daemon.status()["models"][0]["variant"] == "exact", 20, "precision comes back")
        time.sleep(4)


@dataclass
class Story:
    """Where to ask, the daemon that lived through it, and when it began."""

    url: str
    busy: Daemon
    began: float

    @property
    def seconds(self):
        return time.time() - self.began

    def chosen(self, job="busy"):
        whole = f"{math.ceil(self.seconds)}s"
        return {"job": job, "slo": "tiny-availability", "__range": whole, "pace": whole}


@pytest.fixture(scope="module")
def story(daemons, prometheus):
    began = time.time()
    time.sleep(4)  # some quiet
    live(daemons[1])
    return Story(prometheus, daemons[1], began)


# --- what is seen of it


@each_board
def test_every_query_is_answered_with_numbers_and_the_labels_that_it_names(story, uid):
    found = queries.complaints(story.url, BOARDS[uid], story.chosen(), skip=NOT_HERE, seconds=story.seconds)
    assert found == []


@each_board
def test_every_panel_moves(story, uid):
    stood = []
    for panel in queries.panels(BOARDS[uid]):
        if panel["title"] in STILL | NOT_HERE:
            continue
        asked = [query for query in queries.queries(BOARDS[uid]) if query.title == panel["title"]]
        if not any(moves(story, query) for query in asked):
            stood.append(panel["title"])
    assert stood == []


def moves(story, query):
    """Whether a series changes over the story, or comes, or goes; an instant query is asked all along."""
    expr = queries.substitute(query.expr, story.chosen() | {"__range": "4s"})
    seconds = story.seconds
    numbers = [
        [value for value in values if not math.isnan(value)] for _, values in queries.ask_over(story.url, expr, seconds)
    ]
    return any(len(set(values)) > 1 or len(values) < seconds - 2 for values in numbers)


@each_board
def test_a_daemon_without_load_gpu_and_rules_explains_each_panel_that_is_empty(story, uid):
    silent = []
    for panel in queries.panels(BOARDS[uid]):
        asked = [query for query in queries.queries(BOARDS[uid]) if query.title == panel["title"]]
        answers = [queries.answer(story.url, query, story.chosen("idle"), story.seconds) for query in asked]
        numbers = [value for answer in answers for _, values in answer for value in values if value == value]
        if not numbers and "noValue" not in panel["fieldConfig"]["defaults"]:
            silent.append(panel["title"])
    assert silent == []


@each_board
def test_every_variable_offers_values(story, uid):
    for variable in BOARDS[uid]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        query = queries.substitute(variable["query"]["query"], story.chosen())
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
        port = urllib.parse.urlsplit(story.url).port
        path = f"/api/v1/label/{label}/values?{urllib.parse.urlencode({'match[]': selector})}"
        assert json.loads(request(port, "GET", path)[2])["data"], variable["name"]


def test_each_decision_is_marked_once(story):
    (mark,) = [query for query in queries.queries(BOARDS["sloctl-slo"]) if query.title == "annotation Decisions"]

    def marked():
        answers = queries.answer(story.url, mark, story.chosen(), story.seconds)
        return {(labels["policy"], labels["rule"], labels["action"]): sum(values) for labels, values in answers}

    def decided():
        told = story.busy.get("/api/v1/decisions?limit=1000")[1]["decisions"]
        return Counter((each["policy"], each["rule"], each["action"]) for each in told)

    until(lambda: decided() == marked(), 10, "Prometheus has seen the last of them")
    assert {rule for _, rule, _ in decided()} >= {"busy", "calm", "too-busy", "override"}
