"""What it costs: admission with everything on, call by call, and a tick of the control plane.

Admission is `ModelService.admit` and what comes before it for a tenant, in a loop and with nothing else in the process:
a latency target, a limit that finds itself, rates and a fair share by tenant, a hundred requests of twenty tenants in
the queue. Each call is timed by itself, and the clock's own cost is taken off.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bench.overload.goals import Finding, Goal
from sloctl.admission.tenants import Tenants
from sloctl.board import Board
from sloctl.config.daemon import DaemonConfig
from sloctl.config.runtime import Runtime
from sloctl.config.tenants import TenantsConfig
from sloctl.serving.hosting import EngineHosting
from sloctl.serving.loader import Loader
from sloctl.serving.model import ModelService
from sloctl.serving.pending import Pending
from sloctl.serving.worker import EngineThread

_Times = np.ndarray[Any, np.dtype[np.float64]]
_CONFIG: dict[str, Any] = {
    "apiVersion": "sloctl/v1",
    "kind": "Daemon",
    "models": [{"name": "tiny", "variants": ["fp32"], "maxBatch": 16, "profile": {"interval": "0s"}}],
    "tenants": {"rate": 1_000_000},
}
_NAMES = [f"tenant-{number}" for number in range(20)]
_WAITING = 100
_CALLS = 50_000
_WARM = 2_000


def admission(calls: int = _CALLS) -> list[Finding]:
    """p50 and p99 of admission, in seconds."""
    times = asyncio.run(_admissions(calls))
    p50, p99, most = np.quantile(times, [0.5, 0.99, 0.9999])
    goal = Goal(50e-6, unit="µs", scale=1e6)
    what = f"admission, p99 of {calls:,} calls (median {p50 * 1e6:.1f} µs, of 10,000 the slowest {most * 1e6:.0f} µs)"
    return [Finding(what, goal, (float(p99),))]


@asynccontextmanager
async def _loaded(folder: Path, config: DaemonConfig) -> AsyncIterator[ModelService]:
    """A model whose variant is loaded."""
    from bench.serving import make_model

    make_model("tiny", folder / "repository" / "tiny" / "fp32")
    runtime = Runtime.resolve(config, folder / "sloctl.yaml", (), {"tiny": 0.25})
    board, loop = Board.create(runtime.topology), asyncio.get_running_loop()
    service = ModelService(runtime.daemon.models[0], board, loop, hang_after=2.0)
    thread = EngineThread("loader", loop)
    await Loader(EngineHosting("cpu", "never", folder), folder / "repository", thread).load(service)
    thread.stop()
    yield service
    service.close()


async def _admissions(calls: int) -> _Times:
    config = DaemonConfig.model_validate(_CONFIG)
    tenants = Tenants(TenantsConfig.model_validate(_CONFIG["tenants"]))
    async with AsyncExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        service = await stack.enter_async_context(_loaded(Path(scratch), config))
        _fill(service, tenants)
        found, clock = np.empty(calls), time.perf_counter_ns
        idle = min(-(clock() - clock()) for _ in range(1000))
        gc.disable()  # as the data plane freezes what is there to stay
        for number in range(-_WARM, calls):
            now, name = time.monotonic(), _NAMES[number % len(_NAMES)]
            begun = clock()
            tenant = tenants.find(name, now)
            tenant.spend(now)
            ticket = service.admit(now, 1, now + 10, now, tenant)
            ended = clock()
            service.release(ticket.token)
            service.leave()
            if number >= 0:
                found[number] = (ended - begun - idle) * 1e-9
        gc.enable()
        return found


def _fill(service: ModelService, tenants: Tenants) -> None:
    """Requests that wait; the loop does not turn, so none of them is run."""
    now, row = time.monotonic(), {"x": np.ones((1, 16), np.float32)}
    for number in range(_WAITING):
        tenant = tenants.find(_NAMES[number % len(_NAMES)], now)
        ticket = service.admit(now, 1, now + 10, now, tenant)
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda ended: ended.exception())  # each is rejected in the end
        service.enqueue(Pending(row, 1, None, 1, now + 10, now, ticket, future, None, (), tenant))
        service.leave()


def tick() -> list[Finding]:
    """A tick with 100 SLOs and 50 rules, in seconds."""
    from bench.core import tick_seconds

    return [Finding("a tick with 100 SLOs and 50 rules", Goal(5e-3, unit="ms", scale=1e3), (tick_seconds(),))]
