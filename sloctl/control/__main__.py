"""The control plane's process: composes controller, ticks and HTTP over what the supervisor handed down."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

import uvicorn

from sloctl.board import Board, Boards, Phase
from sloctl.config.runtime import Runtime
from sloctl.connection import Connection
from sloctl.control.alertmanager import notifier
from sloctl.control.api import Api, read_token
from sloctl.control.controller import Controller, RequestError, accepted_bundle, settle
from sloctl.control.housekeeping import housekeeper
from sloctl.control.recording import Recorder
from sloctl.control.schedule import Schedule
from sloctl.control.sensing import Senses
from sloctl.control.store import StateDirError, Store
from sloctl.telemetry.logging import configure_from_environment
from sloctl.telemetry.tracing import DecisionTracer
from sloctl_exporters.nvml import NvmlSource
from sloctl_exporters.nvml_ticker import Ticker
from sloctl_exporters.otlp import OtlpPusher

_GPU_INTERVAL = 1.0  # seconds between readings


class _Server(uvicorn.Server):
    """uvicorn with its own signal handling taken out: the process owns the signals."""

    def capture_signals(self) -> "threading.Lock":  # type: ignore[override]
        return threading.Lock()  # any context manager that does nothing


def _text(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sloctl.control")
    for name in ("runtime", "bundle", "http"):
        parser.add_argument(f"--{name}-fd", type=int, required=True)
    parser.add_argument("--board-fd", type=int, required=True, action="append")
    return parser.parse_args()


def main() -> None:
    """Runs until SIGTERM."""
    arguments = _arguments()
    configure_from_environment()
    runtime = Runtime.from_json(_text(arguments.runtime_fd))
    board = Boards([Board.attach(fd, runtime.topology) for fd in arguments.board_fd])
    board.agree()
    board.control_status.begin(os.getpid(), time.monotonic())
    store = _store(runtime)
    gpu = runtime.daemon.telemetry.gpu
    source = NvmlSource(names=gpu.names, expected=gpu.expected)
    gpus = Ticker(source, _GPU_INTERVAL, devices=_gpus(runtime))
    gpus.start()
    senses = Senses(board, runtime.daemon.hosts, gpus, runtime.daemon.pins)
    endpoint = runtime.daemon.telemetry.otlp_endpoint
    tracer = DecisionTracer(endpoint)
    alerts = runtime.daemon.alerts
    url = alerts.external_url or _listens_at(arguments.http_fd)
    told = notifier(alerts, runtime.path.parent, url)
    controller = Controller(
        runtime,
        accepted_bundle(runtime, store, board, json.loads(_text(arguments.bundle_fd))),
        senses,
        store,
        trace=tracer.record,
        recorder=_recorder(runtime),
        notifier=told,
        address=urlsplit(url).netloc,
    )
    schedule = _schedule(controller, runtime)
    controller.tick()  # catches up first: what was saved is older than what was last exported
    settle()
    schedule.start()
    nightly = housekeeper(controller.prune)
    nightly.start()
    asyncio.run(_serve(controller, runtime, board, arguments.http_fd))
    nightly.shutdown(wait=False)
    schedule.shutdown()
    controller.tick()
    controller.save()
    store.close()
    tracer.close()
    if told is not None:
        told.close()
    gpus.stop()


def _store(runtime: Runtime) -> Store:
    try:
        return Store(runtime.state_dir)
    except StateDirError as error:
        sys.exit(f"error: {error}")


def _listens_at(fd: int) -> str:
    """Where people find the control plane, if nobody says better."""
    with socket.socket(fileno=os.dup(fd)) as listener:
        host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104  it is asked about, not bound
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _gpus(runtime: Runtime) -> list[str]:
    devices = dict.fromkeys((*runtime.daemon.hosts, *runtime.daemon.pins.values()))
    return [device for device in devices if device != "cpu"]


def _recorder(runtime: Runtime) -> Recorder | None:
    wanted = runtime.daemon.telemetry.trace
    return Recorder(runtime.path.parent / wanted.path, wanted.max_bytes, wanted.keep) if wanted else None


def _schedule(controller: Controller, runtime: Runtime) -> Schedule:
    schedule = Schedule()
    schedule.add(controller.tick, runtime.daemon.control.tick)
    telemetry = runtime.daemon.telemetry
    if telemetry.otlp_endpoint:
        pusher = OtlpPusher(telemetry.otlp_endpoint, controller.families)
        schedule.add(pusher.push, telemetry.otlp_interval)
    return schedule


async def _serve(controller: Controller, runtime: Runtime, board: Boards, fd: int) -> None:
    loop = asyncio.get_running_loop()
    token_file = runtime.daemon.control.token_file
    token = read_token(runtime.path.parent / token_file if token_file else None)
    app = Api(controller, token, _names(runtime)).app()
    config = uvicorn.Config(
        app, http=Connection, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2
    )
    server = _Server(config)
    loop.add_signal_handler(signal.SIGTERM, lambda: setattr(server, "should_exit", True))
    loop.add_signal_handler(signal.SIGHUP, lambda: loop.run_in_executor(None, _reload, controller))
    board.control_status.enter(Phase.RUNNING)
    await server.serve([socket.socket(fileno=fd)])
    board.control_status.enter(Phase.DRAINING)


def _names(runtime: Runtime) -> set[str]:
    """What this service is called, besides its addresses."""
    url = runtime.daemon.alerts.external_url
    return {runtime.daemon.control.host.lower(), urlsplit(url).hostname or "" if url else ""} - {""}


def _reload(controller: Controller) -> None:
    # A refusal is logged, counted and told in metrics, and the old files stay in force.
    with contextlib.suppress(RequestError):
        controller.reload()


if __name__ == "__main__":
    main()
