"""How long a thread waits to get the interpreter's lock back: `python -m bench.lock`.

An engine's thread lets the lock go while its device computes and wants it back when the device is done. Here a
thread sleeps in C for 200 µs, without the lock, and looks how late it is when it can go on: alone, beside a thread
that is busy in pure Python, and as the engine of a data plane under HTTP load (wrk, 16 connections, JSON). Alone is
what waking up costs; the rest is the wait for the lock. It needs no GPU.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from bench.drive import over_http
from bench.serving import HTTP, make_model, wait_until_up
from sloctl.board import Board
from sloctl.config.daemon import DaemonConfig
from sloctl.config.runtime import Runtime
from sloctl.serving.__main__ import SWITCH_INTERVAL

NAP = 200_000  # nanoseconds
DEFAULT = 5e-3  # Python's own interval
INTERVALS = (DEFAULT, 1e-3, SWITCH_INTERVAL)
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "3"))
_C = ctypes.CDLL(None)  # its calls let the lock go
_CLOCK_MONOTONIC, _TIMER_ABSTIME, _PR_SET_TIMERSLACK = 1, 1, 29


class _Moment(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def nap() -> int:
    """Sleeps in C; returns the nanoseconds between the end of the sleep and the next line of Python."""
    end = time.monotonic_ns() + NAP
    moment = _Moment(*divmod(end, 1_000_000_000))
    _C.clock_nanosleep(_CLOCK_MONOTONIC, _TIMER_ABSTIME, ctypes.byref(moment), None)
    return time.monotonic_ns() - end


def naps() -> list[int]:
    _C.prctl(_PR_SET_TIMERSLACK, 1)
    found, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        found.append(nap())
    return found


@contextmanager
def busy_thread() -> Iterator[None]:
    stop = False

    def count() -> None:
        number = 0
        while not stop:
            number += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield
    finally:
        stop = True
        thread.join()


def beside_python(interval: float) -> list[int]:
    sys.setswitchinterval(interval)
    try:
        with busy_thread():
            return naps()
    finally:
        sys.setswitchinterval(DEFAULT)


def in_data_plane(interval: float) -> tuple[list[int], float]:
    """Under load: how late each batch was, and the requests a second beside it."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as sock:
        root = Path(folder)
        make_model("tiny", root / "repository" / "tiny" / "fp32")
        process = _start_plane(root, sock, interval)
        try:
            (payload, *_), port = HTTP.values(), sock.getsockname()[1]
            drive = partial(over_http, payload, port, process.pid, root)
            wait_until_up(drive)
            rate = drive(SECONDS).rate
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=20)[0]
        return json.loads(said.splitlines()[-1]), rate


def _start_plane(root: Path, sock: socket.socket, interval: float) -> "subprocess.Popen[str]":
    model = {"name": "tiny", "variants": ["fp32"], "maxBatch": 16, "profile": {"interval": "0s"}}
    raw = {"apiVersion": "sloctl/v1", "kind": "Daemon", "models": [model]}
    runtime = Runtime.resolve(DaemonConfig.model_validate(raw), root / "sloctl.yaml", ())
    config = os.memfd_create("config", 0)
    os.write(config, runtime.to_json().encode())
    descriptors = {"runtime": config, "board": Board.create(runtime.topology).fd, "http": sock.fileno()}
    flags = [word for name, fd in descriptors.items() for word in (f"--{name}-fd", str(fd))]
    command = [sys.executable, "-m", "bench.lock", str(interval), *flags]
    environment = {**os.environ, "SLOCTL_LOG": "error,json"}
    return subprocess.Popen(
        command, pass_fds=list(descriptors.values()), env=environment, stdout=subprocess.PIPE, text=True
    )


def be_data_plane(interval: float) -> None:
    """A data plane whose engine takes two batches and naps in each; at its end it prints how late every nap was."""
    from sloctl.engines.onnx import OnnxEngine
    from sloctl.serving import __main__ as serving
    from sloctl.serving import server

    late: list[int] = []
    infer, leave, switch = OnnxEngine.infer, server.leave, sys.setswitchinterval

    def napping(engine: OnnxEngine, *requests: object) -> object:
        _C.prctl(_PR_SET_TIMERSLACK, 1)
        late.append(nap())
        return infer(engine, *requests)  # type: ignore[arg-type]

    def switching(_: float) -> None:
        switch(interval)

    def leaving(status: int) -> None:
        print(json.dumps(late[len(late) // 10 :]))  # without the warm-up
        leave(status)

    replacements = {OnnxEngine: ("infer", napping), serving: ("leave", leaving), sys: ("setswitchinterval", switching)}
    for owner, (name, value) in replacements.items():
        setattr(owner, name, value)
    OnnxEngine.concurrency = property(lambda _: 2)  # type: ignore[assignment,method-assign]  # one is parsed meanwhile
    del sys.argv[1]
    serving.main()


Row = tuple[str, float | None]  # what the thread is, and the interval
Found = tuple[list[int], float]


def measured() -> dict[Row, list[Found]]:
    """All cases, `ROUNDS` times in turn."""
    rows: dict[Row, list[Found]] = {}
    for _ in range(ROUNDS):
        rows.setdefault(("alone", None), []).append((naps(), 0.0))
        for interval in INTERVALS:
            rows.setdefault(("beside a busy Python thread", interval), []).append((beside_python(interval), 0.0))
        for interval in INTERVALS:
            rows.setdefault(("in a data plane under HTTP load", interval), []).append(in_data_plane(interval))
    return rows


def main() -> None:
    if len(sys.argv) > 1:
        be_data_plane(float(sys.argv[1]))
    print(f"Best of {ROUNDS} rounds of {SECONDS:g} s, for each figure by itself: noise only ever slows down.\n")
    print("| the thread is | switch interval | late by p50, µs | p90 | p99 | requests/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (what, interval), found in measured().items():
        p50, p90, p99 = np.min([np.percentile(late, (50, 90, 99)) for late, _ in found], axis=0) / 1e3
        said = "" if interval is None else f"{interval * 1e3:g} ms"
        rate = max(rate for _, rate in found)
        print(f"| {what} | {said} | {p50:,.0f} | {p90:,.0f} | {p99:,.0f} | {f'{rate:,.0f}' if rate else ''} |")


if __name__ == "__main__":
    main()
