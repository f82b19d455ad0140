"""`sloctl import`: brings a model file into the repository, measured."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sloctl.cli.client import fail

if TYPE_CHECKING:
    from sloctl.build.store import Hosting
    from sloctl.engines.base import Engine
    from sloctl.engines.manifest import Accuracy, Build, Manifest
    from sloctl.engines.measure import Evaluation


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
    from sloctl.build.store import Hosting
    from sloctl.engines.base import EngineError

    folder = repository / name_of("model", model) / name_of("variant", variant)
    if reference and not evaluate:
        fail("--reference needs --evaluate: variants are compared on its samples")
    if folder.exists() and not replace:
        fail(f"{folder} is there already; give another --variant, or --replace to set it aside")
    hosting = Hosting(device, threads, max_batch, lean_runtime)
    try:
        manifest = _import(file, folder, hosting, precision or variant, evaluate, reference)
    except (EngineError, OSError) as error:
        fail(str(error))
    table = ", ".join(f"{size}: {seconds * 1e3:.2f} ms" for size, seconds in manifest.latency_seconds.items())
    typer.echo(f"{folder}: {manifest.precision}, {manifest.size} bytes, median latency by batch {table}")
    if manifest.accuracy:
        typer.echo(_report(manifest.accuracy, reference))


def name_of(what: str, value: str) -> str:
    """The name of a model or variant, if it is one; else ends the program with a message and status 1."""
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
    file: Path, folder: Path, hosting: "Hosting", precision: str, evaluate: Path | None, reference: str | None
) -> "Manifest":
    """Measures a copy beside the variant's place, and moves it there when it is whole."""
    from sloctl.build.store import FILES, beside, host, measure, publish
    from sloctl.engines.formats import runtime_of
    from sloctl.engines.manifest import write_manifest
    from sloctl.engines.measure import Evaluation

    runtime = runtime_of(file)
    data = Evaluation.read(evaluate) if evaluate else None
    record = _build_record(file)
    with beside(folder) as draft:
        path = Path(shutil.copyfile(file, draft / FILES[runtime]))
        with closing(host(path, runtime, hosting)) as engine:
            measured = _evaluate(engine, data, folder, hosting, reference) if data else None
            manifest = measure(path, engine, runtime, precision, hosting, measured=measured, build=record)
        write_manifest(draft, manifest)
        aside = publish(draft, folder)
    if aside:
        typer.echo(f"the variant that was there is now {aside}", err=True)
    return manifest


def _build_record(file: Path) -> "Build | None":
    """Where a file of a repository came from, as its manifest says: a plan built elsewhere is measured here."""
    from sloctl.engines.manifest import ManifestError, read_manifest, verify_file

    try:
        manifest = read_manifest(file.parent)
        return manifest.build if verify_file(file.parent, manifest) == file else None
    except ManifestError:
        return None


def _evaluate(
    engine: "Engine", data: "Evaluation", folder: Path, hosting: "Hosting", reference: str | None
) -> "Accuracy":
    from sloctl.engines.loading import load_engine
    from sloctl.engines.measure import accuracy, predict

    predicted = predict(engine, data)
    if reference is None:
        return accuracy(predicted, data, None)
    beside = folder.with_name(name_of("reference", reference))
    other, _ = load_engine(beside, device=hosting.device, threads=hosting.threads, max_batch=hosting.max_batch)
    with closing(other):
        return accuracy(predicted, data, predict(other, data))
