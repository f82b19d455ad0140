"""`sloctl demo`: the whole loop on a real model, twice, and a verdict."""

from collections.abc import Callable
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
    from sloctl.cli import demo_plan, demo_screen
    from sloctl.cli.demo_daemon import write_run
    from sloctl.cli.demo_run import measure
    from sloctl.config.resources import resource

    require_extras()
    source, repository = resource("examples/digits"), directory / "repository"
    images = prepared_images(source, repository, lambda message: _say(console, message))
    runs: list[Run] = []

    def plan(scenario: "Scenario", capacities: dict[str, float]) -> "Schedule":
        if runs:
            return runs[0].schedule
        rates = [capacities[name] for name in scenario.variants]
        return scenario.schedule(demo_plan.phases(rates[0], rates[-1]))

    for controller in (True, False):
        config = write_run(directory / ("on" if controller else "off"), source, repository, controller=controller)
        _say(console, f"a daemon with the controller {'on' if controller else 'off'}: {config}")
        shown = demo_screen.live(console) if console.is_terminal else demo_screen.plain(console.out)
        with shown as show:
            runs.append(await measure(config, images, plan, show, controller=controller))
    return runs[0], runs[1]


def prepared_images(source: Path, repository: Path, progress: Callable[[str], None]) -> "NDArray[np.float32]":
    """Puts the example's models in place; returns some images to send. Raises DemoError."""
    import numpy as np

    from sloctl.cli._digits import evaluation, prepare
    from sloctl.cli.demo_daemon import DemoError
    from sloctl.engines.base import EngineError

    try:
        prepare(repository, source, progress)
        return np.asarray(evaluation(source).inputs["image"][:_IMAGES], np.float32)
    except EngineError as error:
        raise DemoError(f"the models cannot be prepared: {error}") from None


def require_extras() -> None:
    """What the example's models and the load need besides the daemon. Raises DemoError."""
    import importlib.util

    from sloctl.cli.demo_daemon import DemoError

    missing = [name for name in ("aiohttp", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoError(f"this needs {' and '.join(missing)}; install them with: pip install 'sloctl[demo]'")


def _say(console: "Console", message: str) -> None:
    console.print(f"[dim]▸[/] {message}", highlight=False)
