"""Requests a second of the data plane beside a bare ASGI callable and direct calls: `python -m bench.serving`.

A tiny model (one 16 by 16 product), JSON, one row a request, wrk with 16 connections, all on this machine, so
the load takes processor time too. Rounds alternate between the servers; the best of each is shown, since noise
only ever slows down.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sloctl.board import Board
from sloctl.config.daemon import DaemonConfig
from sloctl.config.runtime import Runtime
from sloctl.engines.loading import cpu_name
from sloctl.engines.manifest import write_manifest
from sloctl.engines.measure import make_manifest
from sloctl.engines.onnx import OnnxEngine

CONNECTIONS = 16
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
PATH = "/v2/models/tiny/infer"
LUA = """wrk.method="POST"; wrk.headers["Content-Type"]="application/json"
wrk.body='{"inputs":[{"name":"x","shape":[1,16],"datatype":"FP32","data":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]}]}'
"""
Row = tuple[float, str, str, float]  # requests/s, p50, p99, seconds of processor time a request


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    pid: int


def make_model(folder: Path) -> Path:
    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((16, 16), dtype=np.float32), "w")
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 16]) for n in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "tiny", [given], [made], [weights])
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    engine = OnnxEngine(path, max_batch=16)
    manifest = make_manifest(path, engine, precision="fp32", runtime="onnxruntime", device_name=cpu_name())
    write_manifest(folder, manifest)
    return path


@contextmanager
def data_plane(root: Path) -> Iterator[Server]:
    raw = {
        "apiVersion": "sloctl/v1",
        "kind": "Daemon",
        "models": [{"name": "tiny", "variants": ["fp32"], "maxBatch": 16}],
    }
    runtime = Runtime.resolve(DaemonConfig.model_validate(raw), root / "sloctl.yaml", ())
    board = Board.create(runtime.topology)
    config = os.memfd_create("config", 0)
    os.write(config, runtime.to_json().encode())
    with socket.create_server(("127.0.0.1", 0)) as sock:
        descriptors = {"runtime": config, "board": board.fd, "http": sock.fileno()}
        flags = [word for name, fd in descriptors.items() for word in (f"--{name}-fd", str(fd))]
        command = [sys.executable, "-m", "sloctl.serving", *flags]
        with running(command, list(descriptors.values())) as pid:
            yield Server(sock.getsockname()[1], pid)


@contextmanager
def bare(model: Path) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    with running([sys.executable, "-m", "bench.bare", str(model), str(port)], []) as pid:
        yield Server(port, pid)


@contextmanager
def running(command: list[str], descriptors: list[int]) -> Iterator[int]:
    environment = {**os.environ, "SLOCTL_LOG": "error,json"}
    process = subprocess.Popen(command, pass_fds=descriptors, env=environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def wait_until_up(port: int) -> None:
    body = re.findall("'(.*)'", LUA)[0].encode()
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{PATH}", body, timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not come up within 30 s")


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wrk(server: Server, script: Path, seconds: float) -> Row:
    begin = processor_seconds(server.pid)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", str(script)]
    out = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}{PATH}"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in out:
        raise SystemExit(f"some requests failed:\n{out}")
    rate, p50, p99 = (
        re.findall(rf"^ *{word} +(\S+)$", out, re.MULTILINE)[0] for word in ("Requests/sec:", "50%", "99%")
    )
    requests = int(re.findall(r"(\d+) requests in", out)[0])
    return float(rate), p50, p99, (processor_seconds(server.pid) - begin) / requests


def direct(model: Path) -> float:
    engine = OnnxEngine(model, max_batch=16)
    inputs = {"x": np.ones((1, 16), np.float32)}
    return max(rate(lambda: engine.infer(inputs)) for _ in range(ROUNDS))


def rate(call: Callable[[], object], calls: int = 20_000) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return calls / (time.perf_counter() - start)


def main() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = make_model(root / "repository" / "tiny" / "fp32")
        script = root / "post.lua"
        script.write_text(LUA)
        rows: dict[str, list[Row]] = {"data plane": [], "bare ASGI": []}
        with data_plane(root) as own, bare(model) as other:
            servers = {"data plane": own, "bare ASGI": other}
            for server in servers.values():
                wait_until_up(server.port)
                wrk(server, script, 1)
            for _ in range(ROUNDS):
                for name, server in servers.items():
                    rows[name].append(wrk(server, script, SECONDS))
        calls = direct(model)
    best = {name: max(found) for name, found in rows.items()}
    print(f"tiny model, JSON, {CONNECTIONS} connections, best of {ROUNDS} rounds of {SECONDS:g} s\n")
    print(f"{'':12}{'requests/s':>12}{'p50':>10}{'p99':>10}{'of bare':>10}{'CPU each':>12}")
    for name, (requests, p50, p99, cpu) in best.items():
        share = requests / best["bare ASGI"][0]
        print(f"{name:12}{requests:12,.0f}{p50:>10}{p99:>10}{share:10.0%}{cpu * 1e6:9.1f} µs")
    print(f"{'direct calls':12}{calls:12,.0f}")


if __name__ == "__main__":
    main()
