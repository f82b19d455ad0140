"""`sloctl stack`: a daemon with Prometheus and Alertmanager on one machine, ended by Ctrl-C."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import aiohttp
    import numpy as np
    from numpy.typing import NDArray

    from sloctl.cli.stack_files import Places
    from sloctl.cli.stack_programs import Program

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOAD = 0.4  # of the most accurate variant's measured peak
_MINUTE = 60.0


def stack(
    directory: Annotated[Path, typer.Option("--dir", help="Where files, data and logs are kept.")] = Path(".stack"),
    load: Annotated[bool, typer.Option(help="Send requests, at 40 % of what the daemon carries.")] = True,
    once: Annotated[bool, typer.Option("--once", help="Test that an alert goes round, and end.")] = False,
    serving: Annotated[int, typer.Option(help="Port of the daemon's V2 endpoint.")] = 8000,
    control: Annotated[int, typer.Option(help="Port of its control plane.")] = 8002,
    prometheus: Annotated[int, typer.Option(help="Port of Prometheus.")] = 9090,
    alertmanager: Annotated[int, typer.Option(help="Port of Alertmanager.")] = 9093,
) -> None:
    """Run the digits example with Prometheus and Alertmanager, all on this machine, until Ctrl-C.

    A port that is taken (or 0) is replaced by a free one. Exit status: 0 ended by hand or the test passed, 1 it
    cannot run or the test failed, 130 ended before it was up.
    """
    from sloctl.cli.demo import require_extras
    from sloctl.cli.demo_daemon import DemoError
    from sloctl.cli.stack_files import Places
    from sloctl.cli.stack_programs import StackError, ports
    from sloctl.config.problems import ConfigError

    try:
        require_extras()
        places = Places(directory, *ports((serving, control, prometheus, alertmanager)))
        asyncio.run(_run(places, load=load, once=once))
    except (StackError, DemoError, ConfigError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except asyncio.CancelledError:
        raise typer.Exit(130) from None


async def _run(places: "Places", *, load: bool, once: bool) -> None:
    import aiohttp

    from sloctl.cli.stack_check import Check
    from sloctl.cli.stack_programs import running

    task = asyncio.current_task()
    assert task is not None  # noqa: S101  this is a coroutine of asyncio.run
    _on_signals(task.cancel)
    programs, images = await asyncio.to_thread(_prepared, places)
    timeout = aiohttp.ClientTimeout(total=2.0)
    async with AsyncExitStack() as held, aiohttp.ClientSession(timeout=timeout) as session:
        watched = []
        for program in programs:
            process = await held.enter_async_context(running(program, session))
            watched.append(_end_of(program, process))
            _say(f"{program.name} is up")
        if load:
            watched.append(_load(session, places, images))
        if once:
            await _first([Check(session, places.prometheus_url, places.control_url).all(_say), *watched])
            _say("the stack works")
            return
        stop = asyncio.Event()
        _on_signals(stop.set)
        typer.echo(_told(places, load=load))
        await _first([stop.wait(), *watched])
        typer.echo("\nending")


def _on_signals(act: Callable[[], object]) -> None:
    """Once, by the first signal; those after it must not disturb the end."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        for number in _SIGNALS:
            loop.add_signal_handler(number, lambda: None)
        act()

    for number in _SIGNALS:
        loop.add_signal_handler(number, first)


async def _first(awaited: "list[Awaitable[object]]") -> None:
    """Waits for one of these to end, and cancels the others; what it raises is raised."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end_of(program: "Program", process: asyncio.subprocess.Process) -> None:
    from sloctl.cli.stack_programs import ended

    raise ended(program, await process.wait())


def _prepared(places: "Places") -> "tuple[tuple[Program, ...], NDArray[np.float32]]":
    """Writes all files, and makes the models unless they are there; what to run, in order, and images to send."""
    from sloctl.cli import stack_files
    from sloctl.cli.demo import prepared_images
    from sloctl.cli.stack_programs import find
    from sloctl.config.resources import resource

    paths = find()
    source, repository = resource("examples/digits"), places.folder / "repository"
    images = prepared_images(source, repository, _say)
    return stack_files.write(places, source, repository, paths), images


async def _load(session: "aiohttp.ClientSession", places: "Places", images: "NDArray[np.float32]") -> None:
    """Sends requests for ever."""
    from sloctl.cli.demo_plan import MODEL, Scenario
    from sloctl.load.driver import drive
    from sloctl.load.schedule import Phase
    from sloctl.load.v2 import bodies, sender

    scenario = Scenario.read(places.daemon / "sloctl.yaml")
    requests = bodies("image", [image[None] for image in images], scenario.priorities, scenario.deadline)
    capacity = 0.0
    while not capacity:  # measured once the variant is warm
        async with session.get(f"{places.control_url}/api/v1/status") as response:
            capacity = (await response.json())["models"][0]["variants"][0]["capacity"]
        await asyncio.sleep(0.1)
    async with sender(places.serving_url, MODEL, requests, scenario.deadline) as send:
        while True:
            await drive(scenario.schedule([Phase("steady", _MINUTE, _LOAD * capacity)]), send, lambda _: None)


def _told(places: "Places", *, load: bool) -> str:
    sent = f"at {_LOAD:.0%} of its capacity" if load else "none"
    return f"""
  requests      {places.serving_url}/v2 (model digits; load: {sent})
  control       {places.control_url}/metrics
  Prometheus    {places.prometheus_url}/alerts
  Alertmanager  {places.alertmanager_url}
  files, logs   {places.folder}

Look at it, break it, and watch the page go round (mend it with "faults": []):

  sloctl status --url {places.control_url}
  curl -H 'content-type: application/json' -H "authorization: Bearer $(cat {places.token})" \\
    -d '{{"model": "digits", "faults": ["error"]}}' {places.control_url}/api/v1/faults

Ctrl-C ends all of it."""


def _say(message: str) -> None:
    typer.echo(f"▸ {message}")
