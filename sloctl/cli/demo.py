"""`sloctl demo`: the whole loop on a real model, twice, and a verdict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from sloctl.cli.demo_plan import Scenario
    from sloctl.cli.demo_run import Run
    from sloctl.load.schedule import Schedule

_WIDTH = 130  # columns, where no terminal says
_IMAGES = 16  # different ones among the requests


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where the models and both runs are kept.")] = Path(".demo"),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all that was measured to this file.")] = None,
    svg_file: Annotated[Path | None, typer.Option("--svg", help="Write the last page as a picture.")] = None,
) -> None:
    """Serve a model, overload it, break it, and watch sloctl keep its objectives; then without.

    Needs about three minutes, two cores and no network. Exit status: 0 the controller did its work, 1 it did
    not or the demo could not run, 2 wrong usage.
    """
    import asyncio
    import sys

    from rich.console import Console

    from sloctl.cli import demo_report
    from sloctl.cli.demo_daemon import DemoError
    from sloctl.cli.demo_verdict import verdict
    from sloctl.config.problems import ConfigError

    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    # The screen is drawn in a thread: it must not hold up the load for long.
    sys.setswitchinterval(0.0005)
    try:
        on, off = asyncio.run(_both(console, directory))
        checks = verdict(on, off)
        demo_report.show(console, on, off, checks)
        if json_file:
            json_file.write_text(demo_report.as_json(on, off, checks))
        if svg_file:
            demo_report.picture(svg_file, on, off, checks)
    except (DemoError, ConfigError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    failed = [check.name for check in checks if not check.passed]
    if failed:
        console.print(f"[red]The controller did not do its work[/]: {'; '.join(failed)}.")
        raise typer.Exit(1)
    console.print("[green]The controller did its work.[/]")


async def _both(console: "Console", directory: Path) -> "tuple[Run, Run]":
    """The run with the controller, and the same schedule without."""
    from sloctl.cli import demo_daemon
    from sloctl.config.resources import resource

    _needs()
    source, repository = resource("examples/digits"), directory / "repository"
    images = _prepare(console, source, repository)
    runs: list[Run] = []
    for controller in (True, False):
        folder = directory / ("on" if controller else "off")
        config = demo_daemon.write_run(folder, source, repository, controller=controller)
        schedule = runs[0].schedule if runs else None
        runs.append(await _run(console, config, images, schedule, controller=controller))
    return runs[0], runs[1]


async def _run(
    console: "Console", config: Path, images: "NDArray[np.float32]", schedule: "Schedule | None", *, controller: bool
) -> "Run":
    """One run against a daemon of its own; without a schedule, one is made for the capacities it measured."""
    from sloctl.cli import demo_daemon, demo_screen
    from sloctl.cli.demo_run import Run, model_of, play
    from sloctl.load.v2 import bodies, sender

    scenario = _scenario(config)
    requests = bodies("image", [image[None] for image in images], scenario.priorities, scenario.deadline)
    _say(console, f"starting the daemon, controller {'on' if controller else 'off'}: {config}")
    async with (
        demo_daemon.started(config) as daemon,
        sender(daemon.serving, scenario.model, requests, scenario.deadline) as send,
    ):
        status = await daemon.status()
        if status is None:
            raise demo_daemon.DemoError("the daemon went away after it had started")
        variants = {variant["name"]: variant for variant in model_of(status)["variants"]}
        capacities = {name: variants[name]["capacity"] for name in scenario.variants}
        accuracies = {name: variants[name]["accuracy"] for name in scenario.variants}
        schedule = schedule or scenario.schedule(list(capacities.values()))
        run = Run(controller, scenario, schedule, capacities, accuracies)
        _say(console, f"{len(schedule.arrivals)} requests in {schedule.seconds:g} s, to {daemon.serving}")
        shown = demo_screen.live(console) if console.is_terminal else demo_screen.plain(console.out)
        with shown as show:
            await play(run, daemon, send, show)
    return run


def _scenario(config: Path) -> "Scenario":
    """What the run is held against, as its own files say. Raises ConfigError."""
    from sloctl.cli import demo_plan
    from sloctl.config.project import load_project
    from sloctl.slo.objective import Threshold

    project = load_project(config)
    model = next(model for model in project.daemon.models if model.name == demo_plan.MODEL)
    objective = next(found for found in project.bundle.objectives if found.name == demo_plan.SLO)
    if not isinstance(objective.indicator, Threshold):
        raise TypeError(f"{demo_plan.SLO} is not a latency SLO")
    return demo_plan.Scenario(
        model=model.name,
        slo=objective.name,
        priorities=tuple(project.daemon.priorities),
        variants=tuple(model.variants),
        objective=objective.indicator.value,
        target=objective.target,
        deadline=model.deadline,
    )


def _prepare(console: "Console", source: Path, repository: Path) -> "NDArray[np.float32]":
    """Puts the models in place; returns some images to send. Raises DemoError."""
    import numpy as np

    from sloctl.cli._digits import evaluation, prepare
    from sloctl.cli.demo_daemon import DemoError
    from sloctl.engines.base import EngineError

    try:
        prepare(repository, source, lambda message: _say(console, message))
        return np.asarray(evaluation(source).inputs["image"][:_IMAGES], np.float32)
    except EngineError as error:
        raise DemoError(f"the models cannot be prepared: {error}") from None


def _needs() -> None:
    import importlib.util

    from sloctl.cli.demo_daemon import DemoError

    missing = [name for name in ("aiohttp", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoError(f"the demo needs {' and '.join(missing)}; install them with: pip install 'sloctl[demo]'")


def _say(console: "Console", message: str) -> None:
    console.print(f"[dim]▸[/] {message}", highlight=False)
