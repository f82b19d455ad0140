"""Layer times from ONNX Runtime, in a process of its own.

ONNX Runtime has no profile of a single run: a session made with profiling writes its node times once, when it
ends. So each sample is a short-lived session, in a helper process of the lowest priority, which ends when its
standard input does. Frames are a length and a body: first a JSON header, then the raw tensors in its order.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, BinaryIO

import numpy as np

from sloctl.engines.base import EngineError, LayerTime, Tensor

_LENGTH = struct.Struct("<Q")
_PATIENCE = 30.0
_RUNS = 8
_BUDGET = 3.0  # seconds of runs, but always two
_NICE = 19
_PR_SET_PDEATHSIG = 1


class ProfilerProcess:
    """The parent's end of a helper for one model file. Calls are serialised."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def profile(self, inputs: Mapping[str, Tensor]) -> list[LayerTime]:
        """Typical time of each node over a few runs, in execution order. Raises EngineError."""
        with self._lock:
            try:
                return self._ask(inputs)
            except (OSError, ValueError, EngineError) as error:
                self._end()
                raise EngineError(f"{self._model}: no layer profile: {error}") from None

    def _ask(self, inputs: Mapping[str, Tensor]) -> list[LayerTime]:
        if any(value.dtype.hasobject for value in inputs.values()):
            raise EngineError("a model with text inputs cannot be profiled")
        header = [{"name": n, "dtype": v.dtype.str, "shape": v.shape} for n, v in inputs.items()]
        exchange = _Exchange(self._running(), time.monotonic() + _PATIENCE)
        exchange.write(json.dumps(header).encode())
        for value in inputs.values():
            exchange.write(value.tobytes())
        answer = json.loads(exchange.read())
        if "error" in answer:
            raise EngineError(answer["error"])
        return [LayerTime(name, seconds) for name, seconds in answer["layers"]]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sloctl.engines.onnx_profiler", str(self._model)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # a Ctrl-C on the terminal is not for it: it ends when its input does
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError), self._process:  # closes the pipes and waits
                pass
            self._process = None

    def close(self) -> None:
        """Ends the helper."""
        with self._lock:
            self._end()


class _Exchange:
    """Frames to and from the helper until a deadline (monotonic seconds), however slow or stuck it is."""

    def __init__(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        if process.stdin is None or process.stdout is None:
            raise EngineError("the helper has no pipes")
        self._stdin, self._stdout = process.stdin.fileno(), process.stdout.fileno()
        self._deadline = deadline
        os.set_blocking(self._stdin, False)

    def write(self, body: bytes) -> None:
        """Sends one frame. Raises EngineError, OSError."""
        rest = memoryview(_LENGTH.pack(len(body)) + body)
        while rest:
            self._wait(writing=True)
            rest = rest[os.write(self._stdin, rest) :]

    def read(self) -> bytes:
        """Receives one frame. Raises EngineError."""
        return self._exactly(_LENGTH.unpack(self._exactly(_LENGTH.size))[0])

    def _exactly(self, size: int) -> bytes:
        body = bytearray()
        while len(body) < size:
            self._wait(writing=False)
            part = os.read(self._stdout, size - len(body))
            if not part:
                raise EngineError("the helper has ended")
            body += part
        return bytes(body)

    def _wait(self, *, writing: bool) -> None:
        # poll, not select: a busy server has more than 1024 descriptors.
        ready = select.poll()
        ready.register(self._stdin if writing else self._stdout, select.POLLOUT if writing else select.POLLIN)
        if not ready.poll(max(self._deadline - time.monotonic(), 0) * 1e3):
            raise EngineError(f"the helper did not answer within {_PATIENCE:g} s")


def _write(stream: BinaryIO, body: bytes) -> None:
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def _read(stream: BinaryIO) -> bytes:
    length = stream.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        raise EOFError
    return stream.read(_LENGTH.unpack(length)[0])


def _sample(model: str, inputs: dict[str, Tensor]) -> list[tuple[str, float]]:
    import onnxruntime as ort

    from sloctl.engines.onnx import options

    with tempfile.TemporaryDirectory(prefix="sloctl-profile-") as folder:
        made = options(1)
        made.enable_profiling = True
        made.profile_file_prefix = os.path.join(folder, "profile")
        session = ort.InferenceSession(model, made, ["CPUExecutionProvider"])
        until = time.monotonic() + _BUDGET
        for run in range(_RUNS + 1):
            if run > 1 and time.monotonic() > until:
                break
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time")].append(event["dur"] / 1e6)
    # The first run of a session pays for its memory: leave it out.
    return [(name, _typical(found[1:] or found)) for name, found in times.items()]


def _typical(seconds: list[float]) -> float:
    """Mean of the middle half: finer than the profile's whole microseconds, and deaf to preemption."""
    quarter = len(seconds) // 4
    return fmean(sorted(seconds)[quarter : len(seconds) - quarter])


def main() -> None:
    """The helper: answers samples until its input closes."""
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    # A sample can last seconds; with its parent gone nobody wants it, and what it wrote to disk is to be removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    model, stdin = sys.argv[1], sys.stdin.buffer
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            header = json.loads(_read(stdin))
            inputs: dict[str, Tensor] = {
                entry["name"]: np.frombuffer(_read(stdin), entry["dtype"]).reshape(entry["shape"]) for entry in header
            }
            try:
                answer: dict[str, Any] = {"layers": _sample(model, inputs)}
            except Exception as error:
                answer = {"error": str(error).splitlines()[0]}
            _write(stdout, json.dumps(answer).encode())


if __name__ == "__main__":
    main()
