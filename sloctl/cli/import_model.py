"""`sloctl import`: brings a model file into the repository, measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sloctl.cli.client import fail

if TYPE_CHECKING:
    from sloctl.engines.base import Engine
    from sloctl.engines.manifest import Manifest


def import_model(
    file: Annotated[Path, typer.Argument(help="An ONNX model or a TensorRT plan that you trust: a plan is code.")],
    model: Annotated[str, typer.Option(help="The model's name.")],
    variant: Annotated[str, typer.Option(help="The variant's name, such as fp16.")],
    repository: Annotated[Path, typer.Option(help="The repository's folder.")] = Path("repository"),
    precision: Annotated[str | None, typer.Option(help="By default, the variant's name.")] = None,
    evaluate: Annotated[Path | None, typer.Option(help="An .npz with an array for each input, and labels.")] = None,
    max_batch: Annotated[int, typer.Option(min=1)] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda:N or a GPU's UUID.")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="Of a CPU engine.")] = 1,
    lean_runtime: Annotated[str | None, typer.Option(help="Library that a plan of an older TensorRT needs.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Set the variant of that name aside first.")] = False,
) -> None:
    """Copy a model file into the repository, measure it on this device and write its manifest.

    Exit status: 0 imported, 1 refused. A variant that is there is never overwritten.
    """
    from sloctl.engines.base import EngineError
    from sloctl.engines.manifest import write_manifest

    folder = repository / model / variant
    _make_room(folder, replace=replace)
    staging = folder.with_name(f".{variant}.importing")
    staging.mkdir(parents=True, exist_ok=True)
    plan = file.suffix in (".plan", ".engine", ".trt")
    try:
        path = _copy(file, staging / f"model{'.plan' if plan else '.onnx'}")
        engine = _load(path, plan=plan, device=device, threads=threads, max_batch=max_batch, lean=lean_runtime)
        manifest = _measure(path, engine, precision or variant, plan, device, lean_runtime, evaluate)
        engine.close()
        write_manifest(staging, manifest)
        staging.rename(folder)
    except (EngineError, OSError) as error:
        _discard(staging)
        fail(str(error))
    table = ", ".join(f"{size}: {seconds * 1e3:.2f} ms" for size, seconds in manifest.latency_seconds.items())
    typer.echo(f"{folder}: {manifest.precision}, {manifest.size} bytes, median latency by batch {table}")
    if manifest.accuracy:
        typer.echo(f"accuracy {manifest.accuracy.value:.4f} on {manifest.accuracy.samples} samples of {evaluate}")


def _make_room(folder: Path, *, replace: bool) -> None:
    import time

    if not folder.exists():
        return
    if not replace:
        fail(f"{folder} is there already; give another --variant, or --replace to set it aside")
    folder.rename(folder.with_name(f"{folder.name}.replaced-{time.strftime('%Y%m%dT%H%M%S')}"))


def _copy(source: Path, target: Path) -> Path:
    import shutil

    if not source.is_file() or source.stat().st_size == 0:
        fail(f"{source}: there is no such file, or it is empty")
    shutil.copyfile(source, target)
    return target


def _load(path: Path, *, plan: bool, device: str, threads: int, max_batch: int, lean: str | None) -> "Engine":
    if plan:
        from sloctl.engines.tensorrt import TensorRTEngine

        return TensorRTEngine(path, device=device, max_batch=max_batch, lean_runtime=lean)
    from sloctl.engines.onnx import OnnxEngine

    return OnnxEngine(path, threads=threads, max_batch=max_batch)


def _measure(
    path: Path, engine: "Engine", precision: str, plan: bool, device: str, lean: str | None, evaluate: Path | None
) -> "Manifest":
    from sloctl.engines import cuda, measure
    from sloctl.engines.loading import check_device

    measured = None
    if evaluate:
        data = measure.Evaluation.read(evaluate)
        measured = measure.accuracy(measure.predict(engine, data), data, None)
    return measure.make_manifest(
        path,
        engine,
        precision=precision,
        runtime="tensorrt" if plan else "onnxruntime",
        device_name=check_device(device),
        compute_capability=cuda.compute_capability(device) if plan else None,
        driver=cuda.driver_version() if plan else None,
        lean_runtime=lean,
        measured=measured,
    )


def _discard(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
