"""Variants into a repository: run here to be measured, made beside their place, and moved there when whole."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sloctl.engines.base import Engine, EngineError
from sloctl.engines.loading import check_device
from sloctl.engines.manifest import Accuracy, Build, Manifest
from sloctl.engines.measure import make_manifest

FILES = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where and how a variant is run to be measured."""

    device: str
    threads: int
    max_batch: int
    lean_runtime: str | None = None


def host(path: Path, runtime: str, hosting: Hosting) -> Engine:
    """An engine of a model file. Raises EngineError."""
    if runtime == "onnxruntime":
        from sloctl.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads=hosting.threads, max_batch=hosting.max_batch)
    from sloctl.engines.tensorrt import TensorRTEngine

    if hosting.device == "cpu":
        raise EngineError("a TensorRT plan runs on a GPU only; name one with --device cuda:0")
    return TensorRTEngine(path, device=hosting.device, max_batch=hosting.max_batch, lean_runtime=hosting.lean_runtime)


def measure(
    path: Path,
    engine: Engine,
    runtime: str,
    precision: str,
    hosting: Hosting,
    *,
    measured: Accuracy | None = None,
    build: Build | None = None,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
    budget: float = 1.0,
) -> Manifest:
    """The manifest of an engine that runs here. Raises EngineError."""
    from sloctl.engines import cuda, nvml

    on_gpu = runtime == "tensorrt"
    device = hosting.device if on_gpu else "cpu"
    return make_manifest(
        path,
        engine,
        precision=precision,
        runtime="tensorrt" if on_gpu else "onnxruntime",
        device_name=check_device(device),
        device_memory_bytes=int(cuda.call("MemGetInfo")[1]) if on_gpu else _host_memory(),
        compute_capability=cuda.compute_capability(device) if on_gpu else None,
        driver=cuda.driver_version() if on_gpu else None,
        driver_release=nvml.driver_version() if on_gpu else None,
        lean_runtime=hosting.lean_runtime if on_gpu else None,
        measured=measured,
        build=build,
        sizes=sizes,
        budget=budget,
    )


def _host_memory() -> int | None:
    try:
        words = Path("/proc/meminfo").read_text().split()
        return int(words[words.index("MemTotal:") + 1]) * 1024
    except (OSError, ValueError, IndexError):
        return None


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """A folder beside a variant's place; `publish` moves it there, else nothing is left of it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.importing-", dir=folder.parent))
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, folder: Path) -> Path | None:
    """Moves a whole variant to its place; returns where the one that was there is now."""
    draft.chmod(0o755)
    aside = None
    if folder.exists():
        aside = folder.with_name(f"{folder.name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}")
        folder.rename(aside)
    draft.rename(folder)
    return aside
