"""Requests a second of the data plane beside the least that could answer them: `python -m bench.serving`.

One row a request on 16 connections: 16 numbers as JSON (one 16 by 16 product), and 16 KiB and 1 MiB as they lie in
memory (one Relu), over HTTP and over gRPC. The peers are bare servers of the same libraries with the same inference
call. All is on this machine, so the load takes processor time too. Rounds alternate between the servers; the best of
each is shown, since noise only ever slows down.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bench.drive import CONNECTIONS, Payload, Row, need, over_grpc, over_http
from sloctl.board import Board
from sloctl.config.daemon import DaemonConfig
from sloctl.config.runtime import Runtime
from sloctl.engines.loading import cpu_name
from sloctl.engines.manifest import write_manifest
from sloctl.engines.measure import make_manifest
from sloctl.engines.onnx import OnnxEngine

SECONDS = int(os.environ.get("BENCH_SECONDS", "3"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WIDTHS = {"tiny": 16, "kib16": 4096, "mib1": 262144}
HTTP = {
    "16 numbers, JSON": Payload("tiny", 16, json=True),
    "16 KiB": Payload("kib16", 4096),
    "1 MiB": Payload("mib1", 262144),
}
GRPC = {"16 numbers": Payload("tiny", 16), "16 KiB": Payload("kib16", 4096), "1 MiB": Payload("mib1", 262144)}


@dataclass(frozen=True)
class Server:
    """A running server."""

    http: int
    grpc: int
    pid: int


def make_model(name: str, folder: Path) -> Path:
    """A product for the tiny one, a Relu for the others."""
    width = WIDTHS[name]
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", width]) for n in "xy")
    weights = []
    if name == "tiny":
        weights = [numpy_helper.from_array(np.random.default_rng(0).standard_normal((16, 16), dtype=np.float32), "w")]
    node = helper.make_node(*(("MatMul", ["x", "w"], ["y"]) if weights else ("Relu", ["x"], ["y"])))
    graph = helper.make_graph([node], name, [given], [made], weights)
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8), path)
    engine = OnnxEngine(path, max_batch=16)
    manifest = make_manifest(path, engine, precision="fp32", runtime="onnxruntime", device_name=cpu_name())
    write_manifest(folder, manifest)
    return path


@contextmanager
def data_plane(root: Path, prepare: Callable[[Board], None] = lambda _: None) -> Iterator[Server]:
    raw = {
        "apiVersion": "sloctl/v1",
        "kind": "Daemon",
        "models": [{"name": name, "variants": ["fp32"], "maxBatch": 16} for name in WIDTHS],
    }
    runtime = Runtime.resolve(DaemonConfig.model_validate(raw), root / "sloctl.yaml", ())
    board = Board.create(runtime.topology)
    prepare(board)
    config = os.memfd_create("config", 0)
    os.write(config, runtime.to_json().encode())
    rpc = free_port()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        descriptors = {"runtime": config, "board": board.fd, "http": sock.fileno()}
        flags = [word for name, fd in descriptors.items() for word in (f"--{name}-fd", str(fd))]
        command = [sys.executable, "-m", "sloctl.serving", *flags, "--grpc-port", str(rpc)]
        with running(command, list(descriptors.values())) as pid:
            yield Server(sock.getsockname()[1], rpc, pid)


@contextmanager
def bare(protocol: str, models: Path) -> Iterator[Server]:
    port = free_port()
    with running([sys.executable, "-m", "bench.bare", protocol, str(models), str(port)], []) as pid:
        yield Server(port, port, pid)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], descriptors: list[int]) -> Iterator[int]:
    environment = {**os.environ, "SLOCTL_LOG": "error,json"}
    process = subprocess.Popen(command, pass_fds=descriptors, env=environment)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def wait_until_up(call: Callable[[int], Row]) -> None:
    """Until a short round succeeds; it warms up as well."""
    for _ in range(60):
        try:
            call(1)
        except (SystemExit, subprocess.CalledProcessError, IndexError, FileNotFoundError, ZeroDivisionError):
            time.sleep(0.5)
        else:
            return
    raise SystemExit("a server did not come up within 30 s")


def compare(*servers: Callable[[int], Row]) -> list[Row]:
    """The best of the rounds of each, taken in turns."""
    found: list[list[Row]] = [[] for _ in servers]
    for call in servers:
        wait_until_up(call)
    for _ in range(ROUNDS):
        for rows, call in zip(found, servers, strict=True):
            rows.append(call(SECONDS))
    return [max(rows, key=lambda row: row.rate) for rows in found]


def direct(model: Path) -> float:
    engine = OnnxEngine(model, max_batch=16)
    inputs = {"x": np.ones((1, 16), np.float32)}
    return max(rate(lambda: engine.infer(inputs)) for _ in range(ROUNDS))


def rate(call: Callable[[], object], calls: int = 20_000) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return calls / (time.perf_counter() - start)


def show(protocol: str, payload: str, own: Row, peer: Row) -> None:
    for name, row in (("data plane", own), ("bare", peer)):
        times = f"{row.p50 * 1e3:8.2f}{row.p99 * 1e3:8.2f}"
        shares = f"{row.rate / peer.rate:9.0%}{row.p99 / peer.p99:9.2f}" if row is own else ""
        print(f"{protocol:6}{payload:18}{name:12}{row.rate:11,.0f}{times}{row.cpu * 1e6:8.1f} µs{shares}", flush=True)


def main() -> None:
    need("wrk", "h2load")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root, models = Path(folder), Path(folder) / "models"
        models.mkdir()
        for name in WIDTHS:
            (models / f"{name}.onnx").symlink_to(make_model(name, root / "repository" / name / "fp32"))
        own = stack.enter_context(data_plane(root))
        peers = {protocol: stack.enter_context(bare(protocol, models)) for protocol in ("http", "grpc")}
        print(f"{CONNECTIONS} connections, one row a request, best of {ROUNDS} rounds of {SECONDS:g} s\n")
        head = f"{'':6}{'':18}{'':12}{'requests/s':>11}{'p50 ms':>8}{'p99 ms':>8}{'CPU each':>11}"
        print(f"{head}{'of bare':>9}{'its p99':>9}")
        for label, payload in HTTP.items():
            calls = [partial(over_http, payload, each.http, each.pid, root) for each in (own, peers["http"])]
            show("http", label, *compare(*calls))
        for label, payload in GRPC.items():
            calls = [partial(over_grpc, payload, each.grpc, each.pid, root) for each in (own, peers["grpc"])]
            show("grpc", label, *compare(*calls))
        print(f"direct calls of the tiny model: {direct(models / 'tiny.onnx'):,.0f}/s")


if __name__ == "__main__":
    main()
