"""The TensorRT builder's process: it may run under another Python, and a builder that crashes ends only itself."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sloctl.engines.base import EngineError

SCRIPT = Path(__file__).with_name("trt_builder.py")
MODULES = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_TAIL = 2000  # characters of the builder's last words

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a builder is: module and version, whether it takes precision from the model alone, and for which GPUs."""

    module: str
    version: str
    strongly_typed: bool
    flags: tuple[str, ...]
    ahead_of_time: bool
    compute_capability: str | None

    @property
    def name(self) -> str:
        """Module and version."""
        return f"{self.module} {self.version}"


class Builder:
    """TensorRT's builder under some Python, for one kind of target."""

    def __init__(self, target: str, python: str | None = None) -> None:
        self._modules, self._python = MODULES[target], python or sys.executable

    def inspect(self) -> Inspection:
        """Which builder is there. Raises EngineError where none is."""
        found = self._ask({"action": "inspect"}, lambda _: None)
        return Inspection(
            found["module"],
            found["version"],
            found["strongly_typed"],
            tuple(found["flags"]),
            found["ahead_of_time"],
            found["compute_capability"],
        )

    def build(self, request: Mapping[str, Any], watch: Callable[[Event], None]) -> Event:
        """Builds a plan (see `trt_builder.build` for the request); events go to `watch`. Raises EngineError."""
        return self._ask({"action": "build", **request}, watch)

    def _ask(self, request: Mapping[str, Any], watch: Callable[[Event], None]) -> Event:
        command = [self._python, "-B", "-W", "ignore", str(SCRIPT)]
        with tempfile.TemporaryFile("w+") as words, tempfile.TemporaryFile("w+") as asked:
            json.dump({**request, "modules": self._modules}, asked)
            asked.seek(0)
            try:
                process = subprocess.Popen(command, stdin=asked, stdout=subprocess.PIPE, stderr=words, text=True)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise EngineError(
                    f"{self._python}: {reason}; name a Python with TensorRT by --builder-python"
                ) from None
            with process:
                try:
                    last = _events(process, watch)
                except BaseException:
                    process.kill()  # nobody would see what it makes
                    raise
            return _verdict(process.returncode, last, words)


def _events(process: "subprocess.Popen[str]", watch: Callable[[Event], None]) -> Event:
    last: Event = {}
    for line in process.stdout or ():
        try:
            last = json.loads(line)
        except ValueError:
            raise EngineError(f"the TensorRT builder said something that is no event: {line[:200]!r}") from None
        if last["event"] not in ("result", "error"):
            watch(last)
    return last


def _verdict(status: int, last: Event, words: IO[str]) -> Event:
    kind = last.get("event")
    if status == 0 and kind == "result":
        return last
    if kind == "error":
        raise EngineError(str(last["message"]))
    words.seek(0)
    tail = words.read()[-_TAIL:].strip() or "none"
    if status < 0:
        raise EngineError(f"the TensorRT builder crashed ({_signal(-status)}); its last words: {tail}")
    raise EngineError(f"the TensorRT builder ended with status {status} and no result; its last words: {tail}")


def _signal(number: int) -> str:
    try:
        return f"{signal.Signals(number).name}, signal {number}"
    except ValueError:
        return f"signal {number}"
