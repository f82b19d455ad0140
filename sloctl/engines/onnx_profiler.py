"""Layer times from ONNX Runtime, in a process of its own.

ONNX Runtime has no profile of a single run: a session made with profiling writes its node times once, when it
ends. So each sample is a short-lived session, in a helper process of the lowest priority, which ends when its
standard input does. Frames are a length and a body: first a JSON header, then the raw tensors in its order.
"""

import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

import numpy as np

from sloctl.engines.base import EngineError, LayerTime, Tensor

_LENGTH = struct.Struct("<Q")
_PATIENCE = 30.0
_RUNS = 3
_NICE = 19


class ProfilerProcess:
    """The parent's end of a helper for one model file. Calls are serialised."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def profile(self, inputs: Mapping[str, Tensor]) -> list[LayerTime]:
        """Median time of each node over a few runs, in execution order. Raises EngineError."""
        with self._lock:
            try:
                return self._ask(inputs)
            except (OSError, ValueError, EngineError) as error:
                self._end()
                raise EngineError(f"{self._model}: no layer profile: {error}") from None

    def _ask(self, inputs: Mapping[str, Tensor]) -> list[LayerTime]:
        process = self._running()
        if process.stdin is None or process.stdout is None:
            raise EngineError("the helper has no pipes")
        header = [{"name": n, "dtype": v.dtype.str, "shape": v.shape} for n, v in inputs.items()]
        _write(process.stdin, json.dumps(header).encode())
        for value in inputs.values():
            _write(process.stdin, value.tobytes())
        process.stdin.flush()
        if not select.select([process.stdout], [], [], _PATIENCE)[0]:
            raise EngineError(f"the helper did not answer within {_PATIENCE:g} s")
        answer = json.loads(_read(process.stdout))
        if "error" in answer:
            raise EngineError(answer["error"])
        return [LayerTime(name, seconds) for name, seconds in answer["layers"]]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sloctl.engines.onnx_profiler", str(self._model)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # closes the pipes and waits
                pass
            self._process = None

    def close(self) -> None:
        """Ends the helper."""
        with self._lock:
            self._end()


def _write(stream: BinaryIO | Any, body: bytes) -> None:
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)


def _read(stream: BinaryIO | Any) -> bytes:
    length = stream.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        raise EOFError("the other end has closed")
    body: bytes = stream.read(_LENGTH.unpack(length)[0])
    return body


def _sample(model: str, inputs: dict[str, Tensor]) -> list[tuple[str, float]]:
    import onnxruntime as ort

    from sloctl.engines.onnx import options

    with tempfile.TemporaryDirectory(prefix="sloctl-profile-") as folder:
        made = options(1)
        made.enable_profiling = True
        made.profile_file_prefix = os.path.join(folder, "profile")
        session = ort.InferenceSession(model, made, ["CPUExecutionProvider"])
        for _ in range(_RUNS + 1):
            session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text())
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["name"].removesuffix("_kernel_time")].append(event["dur"] / 1e6)
    # The first run of a session pays for its memory: leave it out.
    return [(name, median(found[1:] or found)) for name, found in times.items()]


def main() -> None:
    """The helper: answers samples until its input closes."""
    os.nice(_NICE)
    model, stdin, stdout = sys.argv[1], sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(EOFError, KeyboardInterrupt):
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
            stdout.flush()


if __name__ == "__main__":
    main()
