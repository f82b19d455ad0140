"""A fake engine, and a data plane around it that needs no process, no socket and no model file."""

import asyncio
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sloctl.admission.classes import PriorityClasses
from sloctl.admission.tenants import Tenants
from sloctl.board import Board, Phase
from sloctl.config.daemon import DaemonConfig, ModelConfig
from sloctl.config.runtime import Runtime
from sloctl.engines.base import EngineError, Execution, Flight, Inputs, LayerInfo, LayerTime, Tensor, TensorSpec
from sloctl.engines.batch import joined
from sloctl.serving.asked import Headers
from sloctl.serving.dataplane import DataPlane
from sloctl.serving.faults import HostFaults
from sloctl.serving.http import HttpApp
from sloctl.serving.loader import Hosted, Loader
from sloctl.serving.memory import Need
from sloctl.serving.model import ModelService
from sloctl.serving.registry import Record, Regions
from sloctl.serving.worker import EngineThread

X = TensorSpec("x", "FP32", (-1, 4))
Y = TensorSpec("y", "FP32", (-1, 4))


@dataclass
class FakeFlight:
    """A batch of a fake engine that is done once the engine may go."""

    engine: "FakeEngine"
    requests: Sequence[Inputs]

    def wait(self, seconds: float) -> bool:
        return self.engine.go.is_set()

    def result(self) -> Execution:
        self.engine.flown_in.append(threading.current_thread().name)
        return self.engine.infer(*self.requests)


class FakeEngine:
    """Gives `factor` times its input. Set `fail` or `bad`, or clear `go` to make runs hang."""

    def __init__(
        self, factor: float = 2.0, inputs: Sequence[TensorSpec] = (X,), outputs: Sequence[TensorSpec] = (Y,)
    ) -> None:
        self.factor = factor
        self.inputs = inputs
        self.outputs = outputs
        self.max_batch = 8
        self.runtime = "fake 1.0"
        self.memory_bytes = 1000
        self.concurrency = 1
        self.layers: Mapping[str, LayerInfo] = {}
        self.batches: list[int] = []
        self.fail: str | None = None
        self.bad = False
        self.context = 0
        self.go = threading.Event()
        self.go.set()
        self.bad_check = ""
        self.flown_in: list[str] = []  # the threads that waited for batches handed over
        self.closed = False
        self.profiled: list[Mapping[str, Tensor]] = []

    def infer(self, *requests: Inputs) -> Execution:
        inputs = joined(requests)
        self.go.wait(10)
        first = next(iter(inputs.values()))
        self.batches.append(len(first))
        if self.fail is not None:
            raise EngineError(self.fail)
        out = first * self.factor
        # A row that starts with 13 is unlucky: its output is not finite.
        out = np.where((first[:, :1] == 13) | self.bad, np.float32(np.nan), out)
        return Execution({"y": out.astype(np.float32)}, 1e-5, 1e-6, self.context)

    def begin(self, *requests: Inputs) -> Flight:
        return FakeFlight(self, requests)

    def check(self, inputs: Inputs) -> Execution:
        if self.bad_check:
            raise EngineError(self.bad_check)
        return Execution({"y": joined((inputs,))["x"] * np.float32(self.factor)}, 1e-5, 1e-6)

    def profile(self, *requests: Inputs) -> Sequence[LayerTime]:
        self.profiled.append(joined(requests))
        return [LayerTime("matmul", 3e-6), LayerTime("relu", 1e-6)]

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeHosting:
    """Hands out fake engines; `broken` maps (variant, level) to the message with which that level fails."""

    engines: dict[str, FakeEngine]
    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    accuracies: dict[str, float] = field(default_factory=dict)

    def check_device(self, folder: Path) -> str:
        return self._check("", "device")

    faults = HostFaults()

    def check_monitoring(self, folder: Path) -> str:
        return self._check("", "monitoring")

    def check_runtime(self, folder: Path) -> str:
        return self._check(folder.name, "runtime")

    def check_model(self, folder: Path) -> str:
        return self._check(folder.name, "model")

    free = 1 << 40

    def need(self, folder: Path) -> Need:
        return Need(1000, "a fake")

    def free_memory(self, folder: Path) -> int:
        return self.free

    def preflight(self, folder: Path, config: ModelConfig) -> str:
        return self._check(folder.name, "preflight")

    def load(self, folder: Path, config: ModelConfig) -> Hosted:
        self._check(folder.name, "context")
        sample: dict[str, Tensor] = {"x": np.ones((1, 4), np.float32)}

        def probe(engine: Any) -> None:
            self._check(folder.name, "inference")
            if not np.isfinite(engine.check(sample).outputs["y"]).all():
                raise EngineError("the probe's output is not finite")

        return Hosted(self.engines[folder.name], probe, sample, self.accuracies.get(folder.name, 0.9))

    def _check(self, variant: str, level: str) -> str:
        self.asked[variant, level] += 1
        if (variant, level) in self.broken:
            raise EngineError(self.broken[variant, level])
        return f"fake {level}"


@dataclass
class Bench:
    """A data plane with the model `m` in the variants fp32 (times 2) and int8 (times 3)."""

    board: Board
    plane: DataPlane
    model: ModelService
    app: HttpApp
    hosting: FakeHosting
    loader: Loader
    repository: Path

    @property
    def engines(self) -> dict[str, FakeEngine]:
        return self.hosting.engines

    async def load(self) -> None:
        await self.loader.load(self.model)
        self.plane.phase = Phase.RUNNING

    def in_threads(self) -> None:
        """Makes every batch look too long for the loop."""
        self.model.inline_below = 0.0

    async def call(self, *args: Any, **more: Any) -> Any:
        return await call(self.app, *args, **more)

    async def infer(self, *rows: float, **extra: Any) -> Any:
        """One request; each row is four times the same number."""
        data = [value for row in rows for value in [row] * 4]
        body = {"inputs": [{"name": "x", "shape": [len(rows), 4], "datatype": "FP32", "data": data}], **extra}
        return await self.call("POST", "/v2/models/m/infer", json.dumps(body).encode())

    def word(self, **changes: Any) -> None:
        """Writes the control word as the control plane would."""
        cell = self.board.control("m")
        cell.write(replace(cell.read(), **changes))

    def scalar(self, metric: Any, *labels: str) -> float:
        return self.board.snapshot().scalar(metric, *labels)

    def count(self, metric: Any, *labels: str) -> int:
        return int(self.board.snapshot().counts(metric, *labels).sum())


Make = Callable[..., Bench]


def runtime(tmp: Path, tenants: Any = None, **model: Any) -> Runtime:
    raw = {
        "apiVersion": "sloctl/v1",
        "kind": "Daemon",
        "faultInjection": True,
        "tenants": tenants,
        "models": [{"name": "m", "variants": ["fp32", "int8"], **model}],
    }
    return Runtime.resolve(DaemonConfig.model_validate(raw), tmp / "sloctl.yaml", (0.025,))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes benches inside a running loop; with a `device`, shared memory is on."""
    made: list[Bench] = []

    def build(max_body: int = 1 << 20, hang_after: float = 0.05, device: str | None = None, **model: Any) -> Bench:
        resolved = runtime(tmp_path, **model)
        board = Board.create(resolved.topology)
        loop = asyncio.get_running_loop()
        config = resolved.daemon.models[0]
        service = ModelService(config, board, loop, hang_after, fault_injection=True)
        classes = PriorityClasses.of(resolved.daemon.priorities, resolved.daemon.default_priority)
        regions = None if device is None else Regions(Record(os.memfd_create("regions")), device)
        whose = Tenants(resolved.daemon.tenants) if resolved.daemon.tenants else None
        headers = Headers(resolved.daemon)
        plane = DataPlane(board, {"m": service}, classes, regions, headers=headers, tenants=whose)
        hosting = FakeHosting({"fp32": FakeEngine(2.0), "int8": FakeEngine(3.0)})
        loader = Loader(hosting, tmp_path, EngineThread("loader", loop))
        made.append(Bench(board, plane, service, HttpApp(plane, max_body), hosting, loader, tmp_path))
        return made[-1]

    yield build
    for bench in made:
        for engine in bench.engines.values():
            engine.go.set()
        bench.model.close()


@pytest.fixture
async def bench(make: Make) -> Bench:
    """A loaded bench."""
    built = make()
    await built.load()
    return built


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


async def call(
    app: HttpApp,
    method: str,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    headers: Mapping[str, str] | None = None,
    hang_up: bool = False,
) -> Response | None:
    """One request against the ASGI callable; None if it did not answer."""
    parts = [body] if isinstance(body, bytes) else list(body)
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = hang_up
    if hang_up:
        messages.append({"type": "http.disconnect"})
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await app({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    if not sent:
        return None
    got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Response(sent[0]["status"], got, sent[1]["body"])
