"""Test beds: where the models run whose daemon is overloaded. An emulated accelerator, ONNX Runtime, TensorRT plans."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.plans import ROOT, ROWS, Daemon, import_plans, region_body, system_region
from sloctl.cli._digits import evaluation, prepare
from sloctl.engines.manifest import Accuracy, read_manifest, write_manifest

MODEL = "digits"
CLASSES = ("high", "normal", "low")
_REGION = "sloctl-overload"

# One launch on an H200 that is waited for, in seconds by rows (docs/performance.md, "Hosting"), and accuracies.
H200 = {
    "fp32": {1: 648e-6, 8: 830e-6, 32: 2637e-6, 64: 5138e-6},
    "int8": {1: 217e-6, 8: 248e-6, 32: 431e-6, 64: 706e-6},
}
_ACCURACIES = {"fp32": 0.98, "int8": 0.97}  # in the ladder's order


@dataclass(frozen=True)
class Bed:
    """Models, what asks for them, and what is promised: `objective` in seconds, `patience` of clients likewise.

    `rows` are those of a request; `module` is what `python -m` starts the daemon with.
    """

    name: str
    what: str
    repository: Path
    variants: tuple[str, ...]
    objective: float
    patience: float
    max_batch: int
    body: Callable[[Mapping[str, int]], tuple[bytes, int | None]]
    rows: int = 1
    drivers: int = 1
    device: str = "cpu"
    module: str = "sloctl.cli.main"
    ready: Callable[[Daemon], AbstractContextManager[None]] = lambda _: nullcontext()

    def requests(self, url: str, *, classes: bool = True) -> dict[str, bytes]:
        """A whole HTTP request of each class; without `classes` all of them go as the default one."""
        found = {}
        for number, name in enumerate(CLASSES, start=1):
            body, length = self.body({"priority": number} if classes else {})
            head = [f"POST /v2/models/{MODEL}/infer HTTP/1.1", f"host: {url.partition('//')[2]}"]
            head += [f"content-length: {len(body)}", "content-type: application/octet-stream"]
            head += [f"inference-header-content-length: {length}"] if length is not None else []
            found[name] = "\r\n".join([*head, "", ""]).encode() + body
        return found


def emulated(folder: Path, slower: float = 50.0) -> Bed:
    """An accelerator with the H200's recorded times, so much slower that two cores can drive ten times its load."""
    from bench.serving import make_model

    for precision, recorded in H200.items():
        place = folder / "repository" / MODEL / precision
        if not place.exists():
            make_model("tiny", place)
        table = {rows: seconds * slower for rows, seconds in recorded.items()}
        accuracy = Accuracy(value=_ACCURACIES[precision], samples=1, data="none")
        changed = {"latency_seconds": table, "precision": precision, "accuracy": accuracy, "max_batch": 64}
        write_manifest(place, read_manifest(place).model_copy(update=changed))
    return Bed(
        name="emulated",
        what=f"EMULATED accelerator: a batch sleeps for the H200's recorded time, {slower:g} times slower",
        repository=folder / "repository",
        variants=tuple(H200),
        objective=5e-3 * slower,
        patience=30e-3 * slower,
        max_batch=8,
        body=_Tensor("x", np.ones((1, 16), np.float32)),
        module="bench.overload.serve",
    )


def onnx(folder: Path) -> Bed:
    """The digits model through ONNX Runtime: load, daemon and model share the cores."""
    source = ROOT / "examples" / "digits"
    prepare(folder / "repository", source, lambda message: print(f"▸ {message}", flush=True))
    image = np.asarray(evaluation(source).inputs["image"][:1], np.float32)
    return Bed(
        name="ONNX Runtime",
        what="REAL digits model through ONNX Runtime, one thread; load, daemon and model share the cores",
        repository=folder / "repository",
        variants=("fp32", "int8"),
        objective=0.25,
        patience=1.5,
        max_batch=4,
        body=_Tensor("image", image),
    )


def plans(folder: Path, source: Path, lean: str | None, variants: tuple[str, ...], drivers: int) -> Bed:
    """TensorRT plans on a GPU; a request is 64 images in system shared memory."""
    import_plans(folder, source, variants, lean)
    images = np.ascontiguousarray(evaluation(ROOT / "examples" / "digits").inputs["image"][:ROWS], np.float32)

    @contextmanager
    def registered(node: Daemon) -> Iterator[None]:
        with system_region(node, _REGION, images.tobytes()):
            yield

    return Bed(
        name="TensorRT",
        what=f"REAL plans through TensorRT, {ROWS} images a request in shared memory, {drivers} driver processes",
        repository=folder / "repository",
        variants=variants,
        objective=0.05,
        patience=0.5,
        max_batch=ROWS,
        body=_in_region,
        rows=ROWS,
        drivers=drivers,
        device="cuda:0",
        ready=registered,
    )


def pinned(bed: Bed, variant: str) -> Bed:
    """The bed with one variant only."""
    return replace(bed, variants=(variant,))


@dataclass(frozen=True)
class _Tensor:
    """A body with one binary tensor."""

    name: str
    tensor: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"

    def __call__(self, parameters: Mapping[str, int]) -> tuple[bytes, int | None]:
        raw = self.tensor.tobytes()
        given = {"name": self.name, "shape": self.tensor.shape, "datatype": "FP32"}
        tensor = {**given, "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True, **parameters}}).encode()
        return head + raw, len(head)


def _in_region(parameters: Mapping[str, int]) -> tuple[bytes, int | None]:
    request = json.loads(region_body(_REGION, ROWS))
    request["parameters"] = {**request.get("parameters", {}), **parameters}
    return json.dumps(request).encode(), None
