"""Runs each TensorRT plan of the digits model through the engine, and prints a table.

    SLOCTL_TENSORRT_LIB_DIR=FOLDER_OF_LEAN_RUNTIME python tests/gpu/smoke.py PLANS_FOLDER [DEVICE]

Needs a GPU that the plans were built for, and a TensorRT runtime (`sloctl doctor` says what is there). Each plan
is imported into a repository in a temporary folder, loaded by its manifest, probed, evaluated and profiled.
Exit status 1 if one of them is not what it should be.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sloctl.cli._digits import evaluation
from sloctl.engines.cuda import compute_capability, driver_version
from sloctl.engines.loading import check_device, check_runtime, load_engine, probe
from sloctl.engines.manifest import read_manifest, sample_inputs, write_manifest
from sloctl.engines.measure import accuracy, make_manifest, predict
from sloctl.engines.tensorrt import TensorRTEngine

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"
LEAN = "libnvinfer_lean.so.8"
PRECISIONS = ("fp32", "tf32", "fp16", "int8")
SIZES = (1, 8, 32, 64)
RUNS = 50


def imported(plan: Path, folder: Path, device: str) -> Path:
    """A variant's folder with the plan and its manifest."""
    folder.mkdir(parents=True)
    path = folder / "model.plan"
    path.write_bytes(plan.read_bytes())
    engine = TensorRTEngine(path, device=device, max_batch=64, lean_runtime=LEAN)
    data = evaluation(EXAMPLE)
    manifest = make_manifest(
        path,
        engine,
        precision=folder.name,
        runtime="tensorrt",
        device_name=check_device(device),
        compute_capability=compute_capability(device),
        driver=driver_version(),
        lean_runtime=LEAN,
        measured=accuracy(predict(engine, data), data, None),
    )
    engine.close()
    write_manifest(folder, manifest)
    return folder


def measured(folder: Path, device: str) -> dict[str, Any]:
    """Loads a variant by its manifest and measures it; raises EngineError or AssertionError."""
    engine, manifest = load_engine(folder, device=device, threads=1, max_batch=64)
    probe(engine, manifest)
    row: dict[str, Any] = {"precision": manifest.precision, "memory": engine.memory_bytes}
    assert manifest.accuracy is not None
    row["accuracy"] = manifest.accuracy.value
    for size in SIZES:
        inputs = sample_inputs(list(engine.inputs), seed=1, batch=size)
        runs = [engine.infer(inputs) for _ in range(RUNS)]
        row[f"gpu {size}"] = median(run.engine_seconds for run in runs)
        row[f"enqueue {size}"] = median(run.enqueue_seconds for run in runs)
    before = engine.infer(inputs).outputs["logits"]
    layers = engine.profile(inputs)
    row["layers"], row["profile"] = len(layers), sum(layer.seconds for layer in layers)
    row["slowest"] = max(layers, key=lambda layer: layer.seconds).name
    np.testing.assert_array_equal(engine.infer(inputs).outputs["logits"], before)  # the profile disturbed nothing
    engine.close()
    engine.close()
    return row


def main() -> None:
    """Prints a row for each plan."""
    plans, device = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "cuda:0"
    print(f"device {check_device(device)}, CUDA {driver_version()}")
    header = ("precision", "accuracy", *(f"batch {size}" for size in SIZES), "enqueue 64", "layers", "their sum")
    print(" | ".join(header))
    with tempfile.TemporaryDirectory() as scratch:
        for name in PRECISIONS:
            plan = plans / f"digits_resnet.{name}.plan"
            if not plan.is_file():
                continue
            folder = imported(plan, Path(scratch) / "digits" / name, device)
            row = measured(folder, device)
            gpu = " | ".join(f"{row[f'gpu {size}'] * 1e6:.0f} µs" for size in SIZES)
            tail = f"{row['enqueue 64'] * 1e6:.0f} µs | {row['layers']} | {row['profile'] * 1e6:.0f} µs"
            print(f"{name} | {row['accuracy']:.3f} | {gpu} | {tail} (slowest: {row['slowest']})", flush=True)
            runtime = check_runtime(read_manifest(folder))
    print(f"on {runtime}")


if __name__ == "__main__":
    main()
