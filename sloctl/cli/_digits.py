"""The digits example: from the 8×8 images of scikit-learn to a repository with an fp32 and an int8 variant."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sloctl.engines.base import EngineError
from sloctl.engines.loading import cpu_name
from sloctl.engines.manifest import digest, read_manifest, verify_file, write_manifest
from sloctl.engines.measure import Evaluation, accuracy, make_manifest, predict
from sloctl.engines.onnx import OnnxEngine
from sloctl.engines.quantise import quantise

SIZE = 64
MODEL = "digits"
_CALIBRATION_ROWS = 64
_MAX_BATCH = 16


def upscale(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images [N, 8, 8] in 0..16 to [N, 1, 64, 64] in 0..1, bilinearly with half-pixel centres."""
    side = images.shape[-1]
    places = np.clip((np.arange(SIZE) + 0.5) * side / SIZE - 0.5, 0, side - 1)
    low = np.floor(places).astype(int)
    high, weight = np.minimum(low + 1, side - 1), (places - low).astype(np.float32)
    values = images.astype(np.float32) / 16.0
    rows = values[:, low] * (1 - weight)[:, None] + values[:, high] * weight[:, None]
    both = rows[:, :, low] * (1 - weight) + rows[:, :, high] * weight
    return np.ascontiguousarray(both[:, None], dtype=np.float32)


def evaluation(source: Path) -> Evaluation:
    """The 500 held-out digits, as the model takes them."""
    with np.load(source / "digits_eval.npz", allow_pickle=False) as file:
        return Evaluation("digits_eval", {"image": upscale(file["images"])}, file["labels"])


def prepare(repository: Path, source: Path, progress: Callable[[str], None]) -> None:
    """Makes `digits/fp32` and `digits/int8` in the repository, unless they are there and fit this machine."""
    if _fits(repository, source):
        return
    held_out = evaluation(source)
    folder = repository / MODEL / "fp32"
    model = _place(folder, (source / "digits_resnet.fp32.onnx").read_bytes())
    progress(f"measuring fp32 on {len(held_out.labels)} images")
    reference = _measure(model, "fp32", held_out, None, progress)
    progress("quantising to int8 for this CPU")
    with np.load(source / "digits_calibration.npz", allow_pickle=False) as file:
        calibration = {"image": upscale(file["images"][:_CALIBRATION_ROWS])}
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "int8.onnx"
        quantise(model, made, calibration)
        quantised = _place(repository / MODEL / "int8", made.read_bytes())
    progress(f"measuring int8 on {len(held_out.labels)} images")
    _measure(quantised, "int8", held_out, reference, progress)


def _place(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.yaml").unlink(missing_ok=True)  # until it is measured anew
    path = folder / "model.onnx"
    path.write_bytes(data)
    return path


def _measure(
    path: Path, precision: str, data: Evaluation, reference: NDArray[np.int64] | None, progress: Callable[[str], None]
) -> NDArray[np.int64]:
    engine = OnnxEngine(path, threads=0, max_batch=_MAX_BATCH)
    predicted = predict(engine, data)
    measured = accuracy(predicted, data, reference)
    engine.close()
    single = OnnxEngine(path, threads=1, max_batch=_MAX_BATCH)
    manifest = make_manifest(
        path, single, precision=precision, runtime="onnxruntime", device_name=cpu_name(), measured=measured
    )
    single.close()
    write_manifest(path.parent, manifest)
    progress(f"{precision}: accuracy {measured.value:.3f}, {manifest.latency_seconds[1] * 1e3:.1f} ms an image")
    return predicted


def _fits(repository: Path, source: Path) -> bool:
    try:
        manifests = {name: read_manifest(repository / MODEL / name) for name in ("fp32", "int8")}
        for name, manifest in manifests.items():
            verify_file(repository / MODEL / name, manifest)
    except EngineError:
        return False
    import onnxruntime

    here = (cpu_name(), onnxruntime.__version__)
    same = all((m.device_name, m.runtime_version) == here for m in manifests.values())
    return same and manifests["fp32"].sha256 == digest(source / "digits_resnet.fp32.onnx")
