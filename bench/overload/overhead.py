"""What it costs: admission with everything on, call by call, and a tick of the control plane.

Admission is `ModelService.admit`, in a loop and with nothing else in the process. Each call is timed by itself, and the
clock's own cost is taken off.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.overload.goals import Finding, Goal
from sloctl.board import Board
from sloctl.config.daemon import DaemonConfig
from sloctl.config.runtime import Runtime
from sloctl.serving.hosting import EngineHosting
from sloctl.serving.loader import bring_up
from sloctl.serving.model import ModelService

_Times = np.ndarray[Any, np.dtype[np.float64]]
_CALLS = 50_000
_WARM = 2_000


def admission(calls: int = _CALLS) -> list[Finding]:
    """p50 and p99 of admission, in seconds."""
    times = asyncio.run(_admissions(calls))
    p50, p99, most = np.quantile(times, [0.5, 0.99, 0.9999])
    goal = Goal(50e-6, unit="µs", scale=1e6)
    what = f"admission, p99 of {calls:,} calls (median {p50 * 1e6:.1f} µs, of 10,000 the slowest {most * 1e6:.0f} µs)"
    return [Finding(what, goal, (float(p99),))]


@contextmanager
def _service(folder: Path, loop: asyncio.AbstractEventLoop) -> Iterator[ModelService]:
    """A model whose variant is loaded, with a latency target and a limit that finds itself."""
    from bench.serving import make_model

    make_model("tiny", folder / "repository" / "tiny" / "fp32")
    model = {"name": "tiny", "variants": ["fp32"], "maxBatch": 16, "profile": {"interval": "0s"}}
    raw = {"apiVersion": "sloctl/v1", "kind": "Daemon", "models": [model]}
    runtime = Runtime.resolve(DaemonConfig.model_validate(raw), folder / "sloctl.yaml", (), {"tiny": 0.25})
    service = ModelService(runtime.daemon.models[0], Board.create(runtime.topology), loop, hang_after=2.0)
    variant = service.variants[0]
    folder = folder / "repository/tiny/fp32"
    variant.take(bring_up(EngineHosting("cpu", "never", folder), folder, service, variant, _nobody))
    service.open()
    yield service
    service.close()


async def _admissions(calls: int) -> _Times:
    with tempfile.TemporaryDirectory() as scratch, _service(Path(scratch), asyncio.get_running_loop()) as service:
        found, clock = np.empty(calls), time.perf_counter_ns
        idle = min(-(clock() - clock()) for _ in range(1000))
        gc.disable()  # as the data plane freezes what is there to stay
        for number in range(-_WARM, calls):
            now = time.monotonic()
            begun = clock()
            ticket = service.admit(now, 1, now + 10, now)
            ended = clock()
            service.release(ticket.token)
            service.leave()
            if number >= 0:
                found[number] = (ended - begun - idle) * 1e-9
        gc.enable()
        return found


def tick() -> list[Finding]:
    """A tick with 100 SLOs and 50 rules, in seconds."""
    from bench.core import tick_seconds

    return [Finding("a tick with 100 SLOs and 50 rules", Goal(5e-3, unit="ms", scale=1e3), (tick_seconds(),))]


def _nobody(_level: str, _found: str) -> None:
    return
