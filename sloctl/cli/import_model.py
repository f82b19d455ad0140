"""`sloctl import`: brings a model file into the repository, measured."""

import shutil
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sloctl.cli.client import fail

if TYPE_CHECKING:
    from sloctl.engines.base import Engine
    from sloctl.engines.manifest import Accuracy, Manifest
    from sloctl.engines.measure import Evaluation

_NAMES = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}


@dataclass(frozen=True, slots=True)
class _Hosting:
    """Where and how the model is run to be measured."""

    device: str
    threads: int
    max_batch: int
    lean_runtime: str | None


def import_model(
    file: Annotated[Path, typer.Argument(help="An ONNX model or a TensorRT plan that you trust: a plan is code.")],
    model: Annotated[str, typer.Option(help="The model's name.")],
    variant: Annotated[str, typer.Option(help="The variant's name, such as fp16.")],
    repository: Annotated[Path, typer.Option(help="The repository's folder.")] = Path("repository"),
    precision: Annotated[str | None, typer.Option(help="By default, the variant's name.")] = None,
    evaluate: Annotated[Path | None, typer.Option(help="An .npz with an array for each input, and labels.")] = None,
    reference: Annotated[str | None, typer.Option(help="A variant to compare answers with; needs --evaluate.")] = None,
    max_batch: Annotated[int, typer.Option(min=1)] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda:N or a GPU's UUID.")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="Of a CPU engine.")] = 1,
    lean_runtime: Annotated[str | None, typer.Option(help="Library that a plan of an older TensorRT needs.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Set a variant of that name aside.")] = False,
) -> None:
    """Copy a model file into the repository, measure it on this device and write its manifest.

    Exit status: 0 imported, 1 refused. A variant that is there is never overwritten; with --replace it is
    renamed, once the new one is whole.
    """
    from sloctl.engines.base import EngineError

    folder = repository / _name("model", model) / _name("variant", variant)
    if reference and not evaluate:
        fail("--reference needs --evaluate: variants are compared on its samples")
    if folder.exists() and not replace:
        fail(f"{folder} is there already; give another --variant, or --replace to set it aside")
    hosting = _Hosting(device, threads, max_batch, lean_runtime)
    try:
        manifest = _import(file, folder, hosting, precision or variant, evaluate, reference)
    except (EngineError, OSError) as error:
        fail(str(error))
    table = ", ".join(f"{size}: {seconds * 1e3:.2f} ms" for size, seconds in manifest.latency_seconds.items())
    typer.echo(f"{folder}: {manifest.precision}, {manifest.size} bytes, median latency by batch {table}")
    if manifest.accuracy:
        typer.echo(_report(manifest.accuracy, reference))


def _name(what: str, value: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from sloctl.config.daemon import Name

    try:
        return str(TypeAdapter(Name).validate_python(value))
    except ValidationError:
        fail(f"--{what} {value!r}: expected letters, digits, _ . or -, at most 63, the first a letter or digit")


def _report(found: "Accuracy", reference: str | None) -> str:
    text = f"accuracy {found.value:.4f} on {found.samples} samples of {found.data}"
    return text if found.agreement is None else f"{text}, agreement with {reference} {found.agreement:.4f}"


def _import(
    file: Path, folder: Path, hosting: _Hosting, precision: str, evaluate: Path | None, reference: str | None
) -> "Manifest":
    """Measures a copy beside the variant's place, and moves it there when it is whole."""
    from sloctl.engines.formats import runtime_of
    from sloctl.engines.manifest import write_manifest
    from sloctl.engines.measure import Evaluation

    runtime = runtime_of(file)
    data = Evaluation.read(evaluate) if evaluate else None
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.importing-", dir=folder.parent))
    try:
        path = Path(shutil.copyfile(file, staging / _NAMES[runtime]))
        with closing(_load(path, runtime, hosting)) as engine:
            measured = _evaluate(engine, data, folder, hosting, reference) if data else None
            manifest = _measure(path, engine, runtime, precision, hosting, measured)
        write_manifest(staging, manifest)
        staging.chmod(0o755)
        _put(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _put(staging: Path, folder: Path) -> None:
    if folder.exists():
        aside = folder.with_name(f"{folder.name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}")
        folder.rename(aside)
        typer.echo(f"the variant that was there is now {aside}", err=True)
    staging.rename(folder)


def _load(path: Path, runtime: str, hosting: _Hosting) -> "Engine":
    if runtime == "onnxruntime":
        from sloctl.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads=hosting.threads, max_batch=hosting.max_batch)
    from sloctl.engines.base import EngineError
    from sloctl.engines.tensorrt import TensorRTEngine

    if hosting.device == "cpu":
        raise EngineError("a TensorRT plan runs on a GPU only; name one with --device cuda:0")
    return TensorRTEngine(path, device=hosting.device, max_batch=hosting.max_batch, lean_runtime=hosting.lean_runtime)


def _evaluate(
    engine: "Engine", data: "Evaluation", folder: Path, hosting: _Hosting, reference: str | None
) -> "Accuracy":
    from sloctl.engines.loading import load_engine
    from sloctl.engines.measure import accuracy, predict

    predicted = predict(engine, data)
    if reference is None:
        return accuracy(predicted, data, None)
    beside = folder.with_name(_name("reference", reference))
    other, _ = load_engine(beside, device=hosting.device, threads=hosting.threads, max_batch=hosting.max_batch)
    with closing(other):
        return accuracy(predicted, data, predict(other, data))


def _measure(
    path: Path, engine: "Engine", runtime: str, precision: str, hosting: _Hosting, measured: "Accuracy | None"
) -> "Manifest":
    from sloctl.engines import cuda
    from sloctl.engines.loading import check_device
    from sloctl.engines.measure import make_manifest

    on_gpu = runtime == "tensorrt"
    device = hosting.device if on_gpu else "cpu"
    return make_manifest(
        path,
        engine,
        precision=precision,
        runtime="tensorrt" if on_gpu else "onnxruntime",
        device_name=check_device(device),
        compute_capability=cuda.compute_capability(device) if on_gpu else None,
        driver=cuda.driver_version() if on_gpu else None,
        lean_runtime=hosting.lean_runtime,
        measured=measured,
    )
