"""What a variant is worth: latency by batch size, accuracy, agreement; and the manifest made of it."""

import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sloctl.engines.base import Engine, EngineError, Tensor
from sloctl.engines.manifest import Accuracy, Build, Manifest, TensorEntry, digest, probe_of, sample_inputs

_BATCH = 16
_SEED = 0
_TURNS = 3
_MOST_RUNS = 70  # in a turn
_POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FINE = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Batch sizes of a table that a batch size is to be chosen from."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Labelled samples: `inputs` by name with N rows each, `labels` integer [N]."""

    name: str
    inputs: Mapping[str, Tensor]
    labels: NDArray[np.integer]

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """An .npz file with an array for each of the model's inputs, and `labels`. Raises EngineError."""
        arrays = read_arrays(path)
        if "labels" not in arrays:
            raise EngineError(f"{path}: there is no array named labels; it has {', '.join(arrays)}")
        return cls(path.stem, {k: v for k, v in arrays.items() if k != "labels"}, arrays["labels"])


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name. Raises EngineError."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, TypeError, AttributeError, BadZipFile, zlib.error) as error:
        raise EngineError(f"{path}: not an .npz file of plain arrays: {error}") from None


def predict(engine: Engine, data: Evaluation) -> NDArray[np.int64]:
    """Top-1 class of every sample: the argmax of the first output's last dimension. Raises EngineError."""
    check_classes(engine)
    return top1(outputs_of(engine, data)[engine.outputs[0].name])


def top1(scores: Tensor) -> NDArray[np.int64]:
    """The class with the highest score, for scores [N, …, classes]."""
    return np.asarray(scores.argmax(axis=-1).ravel(), np.int64)


def outputs_of(engine: Engine, data: Evaluation) -> dict[str, Tensor]:
    """The outputs of all samples, in batches. Raises EngineError."""
    _check(engine, data)
    names, size = [spec.name for spec in engine.inputs], min(_BATCH, engine.max_batch)
    parts = []
    for start in range(0, len(data.labels), size):
        batch = {name: np.ascontiguousarray(data.inputs[name][start : start + size]) for name in names}
        parts.append(engine.infer(batch).outputs)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def check_classes(engine: Engine) -> None:
    """Whether the first output is scores by class. Raises EngineError."""
    output = engine.outputs[0]
    if len(output.shape) != 2:
        raise EngineError(f"output {output.name} has shape {list(output.shape)}; accuracy needs scores by class")


def _check(engine: Engine, data: Evaluation) -> None:
    if not len(data.labels):
        raise EngineError(f"{data.name}: there are no samples in it")
    for spec in engine.inputs:
        if spec.name not in data.inputs:
            raise EngineError(f"{data.name}: there is no array named {spec.name}; it has {', '.join(data.inputs)}")
        rows = len(data.inputs[spec.name])
        if rows != len(data.labels):
            raise EngineError(f"{data.name}: {spec.name} has {rows} rows, and there are {len(data.labels)} labels")


def accuracy(predicted: NDArray[np.int64], data: Evaluation, reference: NDArray[np.int64] | None) -> Accuracy:
    """Share of samples that are right, and that agree with the reference's predictions."""
    agreement = None if reference is None else float((predicted == reference).mean())
    return Accuracy(
        value=float((predicted == data.labels).mean()), samples=len(data.labels), data=data.name, agreement=agreement
    )


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds of `runs` runs of one batch: the median and the 99th percentile (below 100 runs, the slowest)."""

    p50: float
    p99: float
    runs: int


def latencies(engine: Engine, budget: float = 1.0, clock: Callable[[], float] = time.perf_counter) -> dict[int, float]:
    """Median seconds of a run by batch size 1, 2, 4, …, within about `budget` seconds."""
    return {size: found.p50 for size, found in latency_table(engine, _POWERS, budget, clock).items()}


def latency_table(
    engine: Engine, sizes: Sequence[int], budget: float, clock: Callable[[], float] = time.perf_counter
) -> dict[int, Latency]:
    """Latency by batch size, for those of `sizes` that the engine takes, within about `budget` seconds.

    The sizes take turns, so that what disturbs the machine for a second does not fall on one of them alone.
    """
    fitting = [size for size in sizes if size <= engine.max_batch]
    batches = {size: sample_inputs(list(engine.inputs), _SEED, size) for size in fitting}
    for batch in batches.values():
        engine.infer(batch)  # runtimes choose kernels and take memory in the first run
    times: dict[int, list[float]] = {size: [] for size in fitting}
    for _ in range(_TURNS):
        for size, batch in batches.items():
            times[size] += _runs(engine, batch, budget / len(fitting) / _TURNS, clock)
    return {size: _latency(found) for size, found in times.items()}


def _runs(engine: Engine, batch: Mapping[str, Tensor], budget: float, clock: Callable[[], float]) -> list[float]:
    """Seconds of each run of this batch: at least one, else as many as end within the budget. Raises EngineError."""
    times: list[float] = []
    until = clock() + budget
    while not times or (clock() < until and len(times) < _MOST_RUNS):
        start = clock()
        engine.infer(batch)
        times.append(clock() - start)
    return times


def _latency(times: list[float]) -> Latency:
    return Latency(statistics.median(times), sorted(times)[ceil(0.99 * len(times)) - 1], len(times))


def make_manifest(
    path: Path,
    engine: Engine,
    *,
    precision: str,
    runtime: Literal["onnxruntime", "tensorrt"],
    device_name: str,
    device_memory_bytes: int | None = None,
    compute_capability: str | None = None,
    driver: str | None = None,
    driver_release: str | None = None,
    lean_runtime: str | None = None,
    measured: Accuracy | None = None,
    build: Build | None = None,
    sizes: Sequence[int] = _POWERS,
    budget: float = 1.0,
) -> Manifest:
    """Measures latency and the probe's reference, and puts everything together.

    `device_memory_bytes` is all the memory that the device has; `sizes` and `budget` are those of the latency table.
    """
    outputs = engine.infer(sample_inputs(list(engine.inputs), _SEED)).outputs
    table = latency_table(engine, sizes, budget)
    return Manifest(
        file=path.name,
        sha256=digest(path),
        size=path.stat().st_size,
        precision=precision,
        runtime=runtime,
        runtime_version=engine.runtime.rpartition(" ")[2],
        lean_runtime=lean_runtime,
        device_name=device_name,
        device_memory_bytes=device_memory_bytes,
        compute_capability=compute_capability,
        driver=driver,
        driver_release=driver_release,
        inputs=[TensorEntry(name=s.name, datatype=s.datatype, shape=list(s.shape)) for s in engine.inputs],
        outputs=[TensorEntry(name=s.name, datatype=s.datatype, shape=list(s.shape)) for s in engine.outputs],
        max_batch=min(engine.max_batch, 256),
        memory_bytes=engine.memory_bytes,
        latency_seconds={size: found.p50 for size, found in table.items()},
        latency_p99_seconds={size: found.p99 for size, found in table.items()},
        latency_runs={size: found.runs for size, found in table.items()},
        accuracy=measured,
        build=build,
        probe=probe_of(outputs, _SEED),
    )
