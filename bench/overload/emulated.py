"""An accelerator that is not there: the data plane with engines that sleep for as long as a device would compute.

A machine whose cores drive the load, serve it and compute the model too measures their quarrel over the processor. Here
a batch of n rows takes the time that a table has for it, on one device that works through its batches one after
another, asleep. All else is real: HTTP, admission, batching, threads, the engine's interface. The table is the
manifest's (`latencySeconds`, straight lines between its sizes).

`python -m bench.overload.emulated` is `python -m sloctl.serving` with such engines.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sloctl.engines import loading
from sloctl.engines.base import Engine, Execution, Flight, Inputs, Landed, LayerTime
from sloctl.engines.manifest import Manifest
from sloctl.engines.onnx import OnnxEngine
from sloctl.serving.__main__ import main
from sloctl.serving.cost import Cost

_IN_HAND = 2  # batches, as a TensorRT engine takes


class Device:
    """One after another, in order of their coming. A late wake-up does not make the next batch late."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free = 0.0

    def compute(self, seconds: float) -> None:
        """Takes the device for so long, after those who came before."""
        with self._lock:
            end = self._free = max(self._free, self._clock()) + seconds
        self._sleep(max(end - self._clock(), 0.0))


class PacedEngine:
    """A small real engine whose batches take the time of a table on a device that it shares."""

    concurrency = _IN_HAND

    def __init__(self, engine: OnnxEngine, table: Mapping[int, float], device: Device) -> None:
        self._engine = engine
        self._cost = Cost(table)
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)  # what it is, and its probe, which takes no time of the device

    def infer(self, *requests: Inputs) -> Execution:
        """Runs one batch."""
        rows = sum(next(iter(request.values())).shape[0] for request in requests)
        seconds = self._cost.predict(rows)
        self._device.compute(seconds)
        made = self._engine.infer(*requests)
        return Execution(made.outputs, seconds, made.enqueue_seconds)

    def begin(self, *requests: Inputs) -> Flight:
        """Runs it: nothing here can be handed over."""
        return Landed(self.infer(*requests))

    def profile(self, *_: Inputs) -> Sequence[LayerTime]:
        """Nothing: the device has no layers."""
        return []


def install() -> None:
    """From now on every variant of this process is an emulated one."""
    device = Device()

    def create(path: Path, manifest: Manifest, *, max_batch: int, **_: object) -> Engine:
        engine = OnnxEngine(path, threads=1, max_batch=min(max_batch, manifest.max_batch))
        return PacedEngine(engine, manifest.latency_seconds, device)

    loading.create = create


if __name__ == "__main__":
    install()
    main()
