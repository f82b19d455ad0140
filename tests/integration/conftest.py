import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sloctl.engines.loading import cpu_name
from sloctl.engines.manifest import Accuracy, write_manifest
from sloctl.engines.measure import make_manifest
from sloctl.engines.onnx import OnnxEngine

sys.path.insert(0, __file__.rpartition("/")[0])  # importlib mode leaves the helpers' folder out

from running_daemon import BODY, Daemon, Load, write_config

WIDTH = 16


def _model(path):
    """y = x W with x [-1, 16]: as small as a model can be, and still one that batches."""
    weights = np.eye(WIDTH, dtype=np.float32) * 2
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(weights, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.parent.mkdir(parents=True)
    onnx.save(made, str(path))


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """Model `tiny` with variants `exact` and `rough`."""
    root = tmp_path_factory.mktemp("repository")
    for variant, value in (("exact", 0.99), ("rough", 0.97)):
        path = root / "tiny" / variant / "model.onnx"
        _model(path)
        engine = OnnxEngine(path, threads=1, max_batch=8)
        measured = Accuracy(value=value, samples=100, data="made up")
        manifest = make_manifest(
            path, engine, precision=variant, runtime="onnxruntime", device_name=cpu_name(), measured=measured
        )
        write_manifest(path.parent, manifest)
        engine.close()
    return root


@pytest.fixture
def configure(tmp_path, repository):
    """Writes sloctl.yaml, slo.yaml and policy.yaml into the test's folder; keywords replace top-level fields."""
    return lambda **fields: write_config(tmp_path, **{"repository": str(repository), **fields})


@pytest.fixture
def daemon(configure):
    """Starts a daemon with these configuration fields and waits until it is ready; stops it at the end."""
    started = []

    def start(*, wait=True, **fields):
        process = Daemon(configure(**fields))
        started.append(process)
        process.start(wait=wait)
        return process

    yield start
    for process in started:
        process.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, repository):
    """Starts one daemon for all tests of a module: every start takes seconds."""
    started = []

    def start(**fields):
        if not started:
            folder = tmp_path_factory.mktemp("shared")
            started.append(Daemon(write_config(folder, **{"repository": str(repository), **fields})))
            started[0].start()
        return started[0]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def load():
    """Starts a thread that sends requests to a daemon one after another; joins it at the end."""
    running = []

    def start(target, pause=0.005, body=BODY):
        running.append(Load(target, pause, body))
        return running[-1]

    yield start
    for thread in running:
        thread.stop()


@pytest.fixture
def serve_fails(configure):
    """Runs `sloctl serve` on something that it must refuse: (exit status, what it said)."""

    def run(config=None, **fields):
        path = config or configure(**fields)
        command = [sys.executable, "-m", "sloctl.cli.main", "serve", "-c", str(path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
        return done.returncode, done.stderr

    return run
