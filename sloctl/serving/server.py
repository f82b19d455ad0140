"""The data plane's process: attaches to what the supervisor handed down, loads, serves, drains.

HTTP answers from the first moment on, with 503 and the reason while the engines load. SIGTERM drains: new
requests are refused, those in flight end within `serving.drainTimeout`.
"""

import asyncio
import ctypes
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import structlog
import uvicorn

from sloctl.admission.classes import PriorityClasses
from sloctl.admission.tenants import Tenants
from sloctl.board import Board, Ending, LevelState, Phase, PlaneStatus
from sloctl.config.runtime import Runtime
from sloctl.serving.asked import Headers
from sloctl.serving.dataplane import DataPlane
from sloctl.serving.door import Door
from sloctl.serving.exchange import ServingConnection
from sloctl.serving.http import HttpApp
from sloctl.serving.liveness import Liveness, Verdict
from sloctl.serving.loader import Hosting, Loader
from sloctl.serving.model import ModelService
from sloctl.serving.prober import Prober
from sloctl.serving.profiling import Profiler
from sloctl.serving.refusing import Refuser
from sloctl.serving.registry import Record, Regions
from sloctl.serving.tracing import RequestTracer
from sloctl.serving.worker import EngineThread
from sloctl.telemetry.tracing import provider

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from sloctl.serving.rpc.server import RpcServer

log = structlog.get_logger("sloctl.serving")
_BEAT = 0.1
_LAST_WORDS = 0.5  # seconds in which a process that must end still says why
_PR_SET_PDEATHSIG = 1


class _Server(uvicorn.Server):
    """uvicorn with its own signal handling taken out: the process owns the signals."""

    def capture_signals(self) -> "threading.Lock":  # type: ignore[override]
        return threading.Lock()  # any context manager that does nothing


def die_with_parent() -> None:
    """Asks the kernel for SIGTERM when the supervisor is gone, however it went (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """Everything that the data plane runs, joined; lives in one event loop."""

    def __init__(
        self,
        runtime: Runtime,
        board: Board,
        hosting: Hosting,
        regions_fd: int,
        device: str = "cpu",
        others: Sequence[PlaneStatus] = (),
        grpc_port: int | None = None,
    ) -> None:
        """`regions_fd` is a file without a name that holds the registrations of shared memory.

        `device` is what this process runs on, as it sees it, and `others` are those that accept from the same socket.
        Without a `grpc_port` there is no gRPC.
        """
        daemon = runtime.daemon
        loop = asyncio.get_running_loop()
        self._runtime = runtime
        self._status = board.data_status
        self._spans: TracerProvider | None = None
        self._hosting = hosting
        self._models = {
            config.name: ModelService(config, board, loop, daemon.health.timeout, daemon.fault_injection)
            for config in daemon.models
        }
        classes = PriorityClasses.of(daemon.priorities, daemon.default_priority)
        self._others = others
        regions = Regions(Record(regions_fd), device, bool(others)) if daemon.serving.shares_memory else None
        # Those that share the work share each tenant's rate.
        tenants = Tenants(daemon.tenants, len(daemon.hosts)) if daemon.tenants else None
        self._plane = DataPlane(board, self._models, classes, regions, headers=Headers(daemon), tenants=tenants)
        tracer, most = self._make_tracer(), daemon.serving.max_body_bytes
        self._app = HttpApp(self._plane, most, tracer)
        self._refuser = Refuser(self._plane, self._app, tracer)
        self._rpc = _rpc(self._plane, daemon.serving.host, grpc_port, most, tracer)
        self._server = _Server(
            uvicorn.Config(
                self._app,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,  # nothing here asks who the client is
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )
        self._loader = EngineThread("loader", loop)
        self._prober = Prober(
            self._models.values(), daemon.health, hosting, self._lose, lambda name: EngineThread(name, loop)
        )
        self._liveness = Liveness(self._models.values(), self._prober.hung_since, daemon.health.hang_limit)
        for model in self._models.values():
            model.completion.lost = self._lose
        self._drain_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    def _make_tracer(self) -> RequestTracer | None:
        telemetry = self._runtime.daemon.telemetry
        if not telemetry.otlp_endpoint:
            return None
        self._spans = provider(telemetry.otlp_endpoint)
        for model in self._models.values():
            model.completion.tracing = True
        return RequestTracer(self._spans.get_tracer("sloctl"), telemetry.trace_share, self._plane.clock)

    async def run(self, sock: socket.socket) -> None:
        """Serves until a signal, then drains."""
        self._door = self._make_door(sock)
        self._door.open()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self._keep(self._beat())
        self._keep(self._start())
        if self._rpc is not None:
            await self._rpc.start()
        await self._server.serve([])
        if self._rpc is not None:
            await self._rpc.stop()
        for model in self._models.values():
            model.close()
        if self._spans is not None:
            self._spans.shutdown()

    def _make_door(self, sock: socket.socket) -> Door:
        state, config = self._server.server_state, self._server.config
        config.load()

        def protocol() -> asyncio.Protocol:
            return ServingConnection(config, state, self._app, self._refuser)

        return Door(sock, protocol, self._status, self._others, lambda: len(state.connections), self._serves)

    def _serves(self) -> bool:
        """Whether requests are better sent here than to a process that says that it serves."""
        running = self._plane.phase is Phase.RUNNING and not self._plane.ending
        return running and all(model.serving is not None for model in self._models.values())

    def _keep(self, task: Coroutine[Any, Any, None]) -> None:
        """Runs a task for as long as the process; if it fails the process ends, to be started anew."""
        running = asyncio.get_running_loop().create_task(task)
        self._tasks.add(running)
        running.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.critical("background task failed: ending, to be started anew", exc_info=error)
            leave(1)

    async def _beat(self) -> None:
        while True:
            self._status.beat(time.monotonic())
            self._door.offer()
            for model in self._models.values():
                model.tick()
            self._prober.tick()
            verdict = self._liveness.verdict(time.monotonic())
            if verdict is not None:
                self._give_up(verdict)
            if self._plane.phase is Phase.DRAINING:
                self._end_when_drained()
            await asyncio.sleep(_BEAT)

    async def _start(self) -> None:
        """Loads all models, then serves, probes and profiles."""
        loader = Loader(self._hosting, self._runtime.repository, self._loader)
        for model in self._models.values():
            await loader.load(model)
        if self._plane.phase is not Phase.STARTING:  # told to stop meanwhile
            return
        gc.collect()
        gc.freeze()  # what is there now stays: later collections need not look at it
        self._enter(Phase.RUNNING)
        profiler = Profiler(EngineThread("profiler", asyncio.get_running_loop()))
        self._keep(loader.recover(self._models.values()))
        for model in self._models.values():
            self._keep(profiler.run(model))

    def _lose(self, why: str) -> None:
        """A batch or a probe found the device lost to this process."""
        self._liveness.lose(why)

    def _give_up(self, verdict: Verdict) -> None:
        """Says everywhere why this process is of no more use, refuses requests with that, and ends it."""
        if self._plane.ending:
            return
        ending, why = verdict
        reason = ending.name.lower()
        self._plane.ending = why
        self._status.last_words(f"{reason}: {why}")
        level = "device" if ending is Ending.DEVICE_LOST else "inference"
        for model in self._models.values():
            for variant in model.variants:
                variant.health.set(level, LevelState.FAILING, why, time.monotonic())
            model.close()
        log.critical("ending, to be started anew", reason=reason, why=why, status=int(ending))
        asyncio.get_running_loop().call_later(_LAST_WORDS, leave, int(ending))

    def _enter(self, phase: Phase) -> None:
        self._plane.phase = phase
        self._status.enter(phase)
        log.info("data plane", phase=phase.name.lower())

    def _stop(self) -> None:
        """Refuses new requests from now on; the beat ends the process once none is in flight."""
        if self._plane.phase is not Phase.DRAINING:
            self._drain_until = time.monotonic() + self._runtime.daemon.serving.drain_timeout
            self._enter(Phase.DRAINING)
            self._end_when_drained()

    def _end_when_drained(self) -> None:
        running = self._plane.inflight
        if running and time.monotonic() < self._drain_until:
            return
        if running:
            log.warning("requests were still running when the drain timeout ended", requests=running)
        self._server.should_exit = True
        self._door.close()


def _rpc(plane: DataPlane, host: str, port: int | None, most: int, tracer: RequestTracer | None) -> "RpcServer | None":
    if port is None:
        return None
    from sloctl.serving.rpc.server import RpcServer  # takes a moment to import, which those without it need not spend

    return RpcServer(plane, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", most, tracer)


def leave(status: int) -> None:
    """Ends the process without waiting for engine threads: one may hang in a runtime."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
