"""`sloctl build`: from an ONNX model to variants in a repository, each held against a reference and measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sloctl.cli.client import fail
from sloctl.cli.import_model import name_of

if TYPE_CHECKING:
    from sloctl.build.pipeline import Outcome
    from sloctl.build.settings import BuildSettings

_GPU = "TensorRT"
_DATA = "Data and accuracy gate"


def build(
    source: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model, in fp32.")],
    model: Annotated[str, typer.Option(help="The model's name.")],
    repository: Annotated[Path, typer.Option(help="The repository's folder.")] = Path("repository"),
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A Build file; options go before it.")] = None,
    precisions: Annotated[
        str | None, typer.Option(help="Such as fp32,fp16,int8; also tf32, bf16, fp8. Each makes a variant.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="auto, onnxruntime, tensorrt or tensorrt-rtx.")] = None,
    batch: Annotated[
        str | None, typer.Option(help="Smallest/best/largest batch, such as 1/16/64; 1/1/4,1/64/64 makes two profiles.")
    ] = None,
    traffic: Annotated[
        str | None, typer.Option(help="Batch sizes from a daemon's /metrics, or a file of metrics, JSON or CSV.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Of a CPU engine that is measured.")] = None,
    measure_seconds: Annotated[float | None, typer.Option(help="For a variant's latency table.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Set variants of these names aside.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(help=".npz with an array for each input.", rich_help_panel=_DATA)
    ] = None,
    calibration: Annotated[str | None, typer.Option(help="entropy, percentile or max.", rich_help_panel=_DATA)] = None,
    traffic_inputs: Annotated[
        str | None, typer.Option(help=".npz of recorded inputs to hold the calibration against.", rich_help_panel=_DATA)
    ] = None,
    evaluate: Annotated[
        str | None, typer.Option(help=".npz with an array for each input, and labels.", rich_help_panel=_DATA)
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="A variant; else the model itself on ONNX Runtime.", rich_help_panel=_DATA)
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="top-1, or your own module:function, which is run.", rich_help_panel=_DATA)
    ] = None,
    floor: Annotated[float | None, typer.Option(help="Least value of the metric.", rich_help_panel=_DATA)] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Most that the metric may be below the reference.", rich_help_panel=_DATA)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda:N or a GPU's UUID.", rich_help_panel=_GPU)] = None,
    compute_capability: Annotated[
        str | None, typer.Option(help="Of another GPU, such as 8.6 (TensorRT-RTX only).", rich_help_panel=_GPU)
    ] = None,
    builder_python: Annotated[
        str | None, typer.Option(help="A Python that has TensorRT's builder.", rich_help_panel=_GPU)
    ] = None,
    timing_cache: Annotated[
        str | None, typer.Option(help="Folder; by default REPOSITORY.timing-cache.", rich_help_panel=_GPU)
    ] = None,
    workspace_bytes: Annotated[int | None, typer.Option(help="The builder's most.", rich_help_panel=_GPU)] = None,
    optimization_level: Annotated[int | None, typer.Option(help="0 to 5.", rich_help_panel=_GPU)] = None,
    version_compatible: Annotated[
        bool | None, typer.Option("--version-compatible", help="For later TensorRT too.", rich_help_panel=_GPU)
    ] = None,
    exclude_lean_runtime: Annotated[
        bool | None, typer.Option("--exclude-lean-runtime", help="Leave it out of the plan.", rich_help_panel=_GPU)
    ] = None,
    lean_runtime: Annotated[
        str | None, typer.Option(help="Library that runs such a plan.", rich_help_panel=_GPU)
    ] = None,
) -> None:
    """Build a model in several precisions, hold each against the reference, and measure it.

    Exit status: 0 all precisions are in the repository, 1 something failed, 2 wrong usage, 3 the accuracy gate refused
    a variant, 4 a precision cannot be had here. What passed is in the repository in any case; nothing is left of
    the rest. The least of 1, 3, 4 that occurred.
    """
    given: dict[str, Any] = {
        "target": target, "batch": batch, "traffic": traffic, "threads": threads, "measureSeconds": measure_seconds,
        "calibrate": calibrate, "calibration": calibration, "trafficInputs": traffic_inputs, "evaluate": evaluate,
        "reference": reference, "metric": metric, "floor": floor, "maxDrop": max_drop, "device": device,
        "computeCapability": compute_capability, "builderPython": builder_python, "timingCache": timing_cache,
        "workspaceBytes": workspace_bytes, "optimizationLevel": optimization_level, "leanRuntime": lean_runtime,
        "versionCompatible": version_compatible, "excludeLeanRuntime": exclude_lean_runtime,
        "precisions": precisions.split(",") if precisions else None,
    }  # fmt: skip
    settings = _settings(config, {key: value for key, value in given.items() if value is not None})
    name_of("model", model)
    there = [str(each) for precision in settings.precisions if (each := repository / model / precision).exists()]
    if there and not replace:
        fail(f"there already: {', '.join(there)}; give --replace to set such variants aside")
    raise typer.Exit(_run(source, model, repository, settings))


def _settings(config: Path | None, options: dict[str, Any]) -> "BuildSettings":
    from pydantic import ValidationError

    from sloctl.build.settings import load_settings
    from sloctl.config.problems import ConfigError

    try:
        return load_settings(config, options)
    except ConfigError as error:
        typer.echo(str(error), err=True)
    except ValidationError as error:
        for each in error.errors():
            where = ".".join(map(str, each["loc"]))
            typer.echo(f"error: {where}: {each['msg']}" if where else f"error: {each['msg']}", err=True)
    raise typer.Exit(2)


def _run(source: Path, model: str, repository: Path, settings: "BuildSettings") -> int:
    from sloctl.build.materials import Materials
    from sloctl.build.pipeline import Pipeline
    from sloctl.build.progress import reporting
    from sloctl.engines.base import EngineError

    outcomes = []
    try:
        with reporting() as report:
            for outcome in Pipeline(Materials(source, model, repository, settings, report)).run():
                outcomes.append(outcome)
                report.say(f"  {outcome.message}")
    except (EngineError, OSError) as error:
        fail(str(error))
    _show(outcomes)
    return min((int(outcome.fate) for outcome in outcomes if outcome.fate), default=0)


def _show(outcomes: "list[Outcome]") -> None:
    """Median latency and accuracy of what was built, side by side."""
    from rich.console import Console
    from rich.table import Table

    measured = [(each.precision, each.manifest) for each in outcomes if each.manifest and each.manifest.latency_seconds]
    if not measured:
        return
    sizes = sorted({size for _, manifest in measured for size in manifest.latency_seconds})
    shown = [size for size in sizes if size & (size - 1) == 0]
    table = Table(title="median latency in ms by batch size", title_justify="left")
    table.add_column("variant")
    table.add_column("accuracy", justify="right")
    for size in shown:
        table.add_column(str(size), justify="right", no_wrap=True)
    for precision, manifest in measured:
        value = f"{manifest.accuracy.value:.4f}" if manifest.accuracy else "-"
        times = [manifest.latency_seconds.get(size) for size in shown]
        table.add_row(precision, value, *("-" if time is None else f"{time * 1e3:.2f}" for time in times))
    Console().print(table)
