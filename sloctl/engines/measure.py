"""What a variant is worth: latency by batch size, accuracy, agreement; and the manifest made of it."""

import statistics
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sloctl.engines.base import Engine, EngineError, Tensor
from sloctl.engines.manifest import Accuracy, Manifest, Probe, TensorEntry, digest, sample_inputs

_BATCH = 16
_SEED = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Labelled samples: `inputs` by name with N rows each, `labels` integer [N]."""

    name: str
    inputs: Mapping[str, Tensor]
    labels: NDArray[np.integer]

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """An .npz file with an array for each of the model's inputs, and `labels`. Raises EngineError."""
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except OSError as error:
            raise EngineError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (ValueError, EOFError, TypeError, BadZipFile, zlib.error) as error:
            raise EngineError(f"{path}: not an .npz file of plain arrays: {error}") from None
        if "labels" not in arrays:
            raise EngineError(f"{path}: there is no array named labels; it has {', '.join(arrays)}")
        return cls(path.stem, {k: v for k, v in arrays.items() if k != "labels"}, arrays["labels"])


def predict(engine: Engine, data: Evaluation) -> NDArray[np.int64]:
    """Top-1 class of every sample: the argmax of the first output's last dimension. Raises EngineError."""
    _check(engine, data)
    first, size = engine.outputs[0].name, min(_BATCH, engine.max_batch)
    found = []
    for start in range(0, len(data.labels), size):
        batch = {name: np.ascontiguousarray(value[start : start + size]) for name, value in data.inputs.items()}
        found.append(engine.infer(batch).outputs[first].argmax(axis=-1).ravel())
    return np.concatenate(found)


def _check(engine: Engine, data: Evaluation) -> None:
    if not len(data.labels):
        raise EngineError(f"{data.name}: there are no samples in it")
    if len(engine.outputs[0].shape) != 2:
        output = engine.outputs[0]
        raise EngineError(f"output {output.name} has shape {list(output.shape)}; accuracy needs scores by class")
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


def latencies(engine: Engine, budget: float = 1.0, clock: Callable[[], float] = time.perf_counter) -> dict[int, float]:
    """Median seconds of a run by batch size 1, 2, 4, …, within about `budget` seconds."""
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64, 128, 256) if size <= engine.max_batch]
    batches = {size: sample_inputs(list(engine.inputs), _SEED, size) for size in sizes}
    return {size: median_run(engine, batch, budget / len(sizes), clock) for size, batch in batches.items()}


def median_run(engine: Engine, batch: Mapping[str, Tensor], budget: float, clock: Callable[[], float]) -> float:
    """Median seconds of a run of this batch, within about `budget` seconds. Raises EngineError."""
    engine.infer(batch)  # runtimes choose kernels and take memory in the first run
    times: list[float] = []
    until = clock() + budget
    while len(times) < 3 or (clock() < until and len(times) < 200):
        start = clock()
        engine.infer(batch)
        times.append(clock() - start)
    return statistics.median(times)


def make_manifest(
    path: Path,
    engine: Engine,
    *,
    precision: str,
    runtime: Literal["onnxruntime", "tensorrt"],
    device_name: str,
    compute_capability: str | None = None,
    driver: str | None = None,
    lean_runtime: str | None = None,
    measured: Accuracy | None = None,
) -> Manifest:
    """Measures latency and the probe's reference, and puts everything together."""
    outputs = engine.infer(sample_inputs(list(engine.inputs), _SEED)).outputs
    expected = {name: [float(v) for v in value.ravel()] for name, value in outputs.items() if value.dtype.kind in "fiu"}
    return Manifest(
        file=path.name,
        sha256=digest(path),
        size=path.stat().st_size,
        precision=precision,
        runtime=runtime,
        runtime_version=engine.runtime.rpartition(" ")[2],
        lean_runtime=lean_runtime,
        device_name=device_name,
        compute_capability=compute_capability,
        driver=driver,
        inputs=[TensorEntry(name=s.name, datatype=s.datatype, shape=list(s.shape)) for s in engine.inputs],
        outputs=[TensorEntry(name=s.name, datatype=s.datatype, shape=list(s.shape)) for s in engine.outputs],
        max_batch=min(engine.max_batch, 256),
        memory_bytes=engine.memory_bytes,
        latency_seconds=latencies(engine),
        accuracy=measured,
        probe=Probe(seed=_SEED, expected=expected),
    )
