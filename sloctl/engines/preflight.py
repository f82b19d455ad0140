"""Loads a model in a throw-away process before a serving process does, since a wrong plan can end the one that does.

TensorRT has no call that checks a plan beforehand, and a plan of another version or with flipped bytes may end the
process with a signal: no exception, no log. So a child makes the steps of a load and writes each to a file; what the
file does not say, its exit status does.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from sloctl.engines import loading
from sloctl.engines.base import Engine, EngineError
from sloctl.engines.formats import require_format, runtime_of
from sloctl.engines.manifest import NAME, Manifest, read_manifest, sample_inputs

TIMEOUT = 120.0  # seconds; deserialising takes tens of milliseconds, a cold driver some seconds
LEVELS = {  # of health, by step
    "start": "runtime",
    "manifest": "model",
    "format": "model",
    "device": "device",
    "runtime": "runtime",
    "model": "model",
    "plan": "model",
    "context": "context",
    "inference": "inference",
}


class PreflightError(EngineError):
    """A preflight found something wrong; `level` is the health level that it belongs to."""

    def __init__(self, level: str, message: str) -> None:
        super().__init__(message)
        self.level = level


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be loaded: `folder` of a variant with a manifest, or else a bare model `file`."""

    path: Path
    device: str
    lean_runtime: str | None = None  # library for a bare plan; a manifest names its own
    max_batch: int = 1
    threads: int = 1
    contexts: int = 1


@dataclass(slots=True)
class Report:
    """What was found: `steps` passed, in order, with what each said; `failed` and `reason` of one that did not.

    `details`: inputs, outputs, layers and memoryBytes, as far as it came.
    """

    steps: list[tuple[str, str]] = field(default_factory=list)
    failed: str = ""
    reason: str = ""
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """The health level that fails, "" where none does."""
        return LEVELS[self.failed] if self.failed else ""


# --- the parent


def preflight(subject: Subject, timeout: float = TIMEOUT) -> Report:
    """Loads it in a process of its own. Never raises for what that process does."""
    words = ["--device", subject.device, "--max-batch", str(subject.max_batch), "--threads", str(subject.threads)]
    words += ["--contexts", str(subject.contexts)]
    words += ["--lean-runtime", subject.lean_runtime] if subject.lean_runtime else []
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
        words += ["--report-fd", str(told.fileno()), str(subject.path)]
        command = [sys.executable, "-m", "sloctl.engines.preflight", *words]
        started, late = time.monotonic(), False
        child = subprocess.Popen(command, stdout=errors, stderr=errors, pass_fds=[told.fileno()])
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            late = True
            child.kill()
            code = child.wait()
        report, step = _read(told)
        report.seconds = time.monotonic() - started
        if not report.failed and (code or late):
            report.failed = step
            report.reason = f"it did not end within {timeout:g} s" if late else _ending(code, _last_line(errors))
        return report


def _read(told: IO[bytes]) -> tuple[Report, str]:
    """What the child wrote, and the step that it was at."""
    report, step = Report(), "start"
    told.seek(0)
    for line in told:
        try:
            event = json.loads(line)
        except ValueError:  # it was ended while it wrote
            break
        if "begin" in event:
            step = event["begin"]
        elif "found" in event:
            report.steps.append((step, event["found"]))
        elif "failed" in event:
            report.failed, report.reason = step, event["failed"]
        else:
            report.details |= event
    return report, step


def _ending(code: int, said: str) -> str:
    if code < 0:
        return f"the process that loaded it was killed by {signal.Signals(-code).name}: a wrong plan does that"
    return f"the process that loaded it ended with status {code}" + (f": {said}" if said else "")


def _last_line(stream: IO[bytes]) -> str:
    stream.seek(0, os.SEEK_END)
    stream.seek(max(stream.tell() - 4096, 0))
    lines = stream.read().decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


# --- what is remembered


class Memory:
    """Preflights that passed, in a file of the state folder, so that a restart does not repeat them.

    The key is all that a load depends on: the file's SHA-256, the runtime's version, the device and its driver.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def has(self, key: tuple[str, ...]) -> bool:
        """Whether this passed before."""
        return list(key) in self._keys()

    def add(self, key: tuple[str, ...]) -> None:
        """It passed. A file that cannot be written costs the next start a preflight, nothing else."""
        kept = [*self._keys(), list(key)][-_MOST:]
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(json.dumps({"passed": kept}))
            beside.replace(self._path)
        except OSError:
            return

    def _keys(self) -> list[Any]:
        try:
            found = json.loads(self._path.read_bytes())["passed"]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        return found if isinstance(found, list) else []


_MOST = 256


# --- the child


class _Teller:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def tell(self, **event: Any) -> None:
        os.write(self._fd, json.dumps(event).encode() + b"\n")


def _load(subject: Subject, teller: _Teller) -> None:
    """Makes the steps, and tells of each before and after. Raises EngineError."""
    folder = subject.path if subject.path.is_dir() else subject.path.parent
    manifest: Manifest | None = None
    made: dict[str, Any] = {}

    def step(name: str, make: Callable[[], str]) -> None:
        teller.tell(begin=name)
        teller.tell(found=make())

    def read() -> str:
        nonlocal manifest
        manifest = read_manifest(folder)
        return f"{manifest.file}, {manifest.precision}, {manifest.runtime} {manifest.runtime_version}"

    if subject.path.is_dir():
        step("manifest", read)
    path = folder / manifest.file if manifest else subject.path
    runtime: str = manifest.runtime if manifest else ""

    def look() -> str:
        nonlocal runtime
        if manifest is not None and path.exists():
            require_format(path, manifest.runtime)
        runtime = runtime or runtime_of(path)
        return f"{runtime}, {path.stat().st_size} bytes"

    def model() -> str:
        return loading.check_model(folder, manifest, subject.device).name if manifest else ""

    def context() -> str:
        made["engine"] = engine = _engine(path, manifest, subject, runtime)
        teller.tell(inputs=_specs(engine, "inputs"), outputs=_specs(engine, "outputs"), memoryBytes=engine.memory_bytes)
        return f"{engine.runtime}, up to {engine.max_batch} rows, {engine.memory_bytes} bytes"

    steps: dict[str, Callable[[], str]] = {}
    if manifest is not None:
        steps["model"] = model  # the size first: a truncated file says so
    steps["format"] = look
    steps["device"] = lambda: loading.check_device(subject.device)
    steps["runtime"] = lambda: _runtime(runtime, manifest)
    steps["plan"] = lambda: _plan(path, runtime, manifest, subject, teller)
    steps["context"] = context
    steps["inference"] = lambda: _infer(made["engine"], manifest)
    for name, make in steps.items():
        step(name, make)


def _runtime(runtime: str, manifest: Manifest | None) -> str:
    if manifest is not None:
        return loading.check_runtime(manifest)
    if runtime == "onnxruntime":
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"
    from sloctl.engines import tensorrt

    return tensorrt.runtime_name()


def _plan(path: Path, runtime: str, manifest: Manifest | None, subject: Subject, teller: _Teller) -> str:
    """Deserialises a TensorRT plan by itself, to tell a wrong plan from a lack of memory for its context."""
    if runtime != "tensorrt":
        return "nothing to deserialise apart from its session"
    if subject.device == "cpu":
        raise EngineError("a TensorRT plan runs on a GPU only; name one with --device cuda:0")
    from sloctl.engines import cuda, tensorrt_runtime

    cuda.select(subject.device)
    lean = manifest.lean_runtime if manifest else subject.lean_runtime
    engine = tensorrt_runtime.runtime(lean, path.parent).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise EngineError(f"{path}: TensorRT cannot deserialise it: {tensorrt_runtime.reason()}")
    teller.tell(layers=int(engine.num_layers))
    return f"deserialised, {engine.num_layers} layers"


def _engine(path: Path, manifest: Manifest | None, subject: Subject, runtime: str) -> Engine:
    if manifest is not None:
        return loading.create(
            path,
            manifest,
            device=subject.device,
            threads=subject.threads,
            max_batch=subject.max_batch,
            contexts=subject.contexts,
        )
    if runtime == "onnxruntime":
        from sloctl.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads=subject.threads, max_batch=subject.max_batch)
    from sloctl.engines.tensorrt import TensorRTEngine

    return TensorRTEngine(path, device=subject.device, max_batch=subject.max_batch, lean_runtime=subject.lean_runtime)


def _infer(engine: Engine, manifest: Manifest | None) -> str:
    started = time.perf_counter()
    if manifest is not None:
        loading.probe(engine, manifest)
        return f"equal to its reference, {(time.perf_counter() - started) * 1e3:.2f} ms"
    outputs = engine.check(sample_inputs(list(engine.inputs), 0)).outputs
    for name, value in outputs.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise EngineError(f"output {name} of a dummy inference is not finite")
    return f"finite; there is no manifest with a reference ({NAME})"


def _specs(engine: Engine, side: str) -> list[dict[str, Any]]:
    specs = engine.inputs if side == "inputs" else engine.outputs
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sloctl.engines.preflight")
    parser.add_argument("path", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--lean-runtime")
    for name in ("max-batch", "threads", "contexts"):
        parser.add_argument(f"--{name}", type=int, default=1)
    parser.add_argument("--report-fd", type=int, required=True)
    return parser.parse_args()


def main() -> None:
    """Makes the steps and ends at once, whatever the runtime's own destructors would do."""
    asked = vars(_arguments())
    teller = _Teller(asked.pop("report_fd"))
    try:
        _load(Subject(**asked), teller)
    except Exception as error:  # whatever a runtime throws is a finding
        teller.tell(failed=str(error) or type(error).__name__)
    os._exit(0)


def describe(report: Report) -> Iterator[str]:
    """A line for each step, for people."""
    for name, found in report.steps:
        yield f"ok    {name:<10} {found}"
    if report.failed:
        yield f"FAIL  {report.failed:<10} {report.reason}"


if __name__ == "__main__":
    main()
