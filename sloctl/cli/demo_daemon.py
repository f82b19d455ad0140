"""The demo's daemon: a folder with its files, a child process, and its control plane as a client sees it."""

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import aiohttp

_ADDRESS = re.compile(r"^sloctl: (serving|control) on (http://\S+)$", re.MULTILINE)
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_COPIED = ("slo.yaml", "policy.yaml")


class DemoError(Exception):
    """The demo cannot go on; the message is for people."""


def write_run(folder: Path, source: Path, repository: Path, *, controller: bool) -> Path:
    """Fills a run's folder with the example's files, changed where the demo must; returns the daemon's file.

    `source` is the example's folder. What an earlier run left behind in `folder` goes, its state above all.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name in _COPIED:
        shutil.copyfile(source / name, folder / name)
    daemon = yaml.load((source / "sloctl.yaml").read_text(), Loader=yaml.CSafeLoader)
    shutil.copyfile(source / daemon["windows"], folder / "windows.yaml")
    daemon["windows"] = "windows.yaml"
    daemon["repository"] = str(repository.resolve())
    daemon["serving"]["port"] = daemon["control"]["port"] = 0
    daemon["control"]["enabled"] = controller
    daemon["faultInjection"] = True
    for model in daemon["models"]:
        model["breaker"]["enabled"] = controller
    path = folder / "sloctl.yaml"
    path.write_text(yaml.safe_dump(daemon, sort_keys=False))
    return path


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon: addresses of its planes, and a session to talk to the control plane."""

    serving: str
    control: str
    session: "aiohttp.ClientSession" = field(repr=False)

    async def status(self) -> dict[str, Any] | None:
        """`/api/v1/status`, or None while the control plane does not answer."""
        import aiohttp

        try:
            async with self.session.get(f"{self.control}/api/v1/status") as response:
                return dict(await response.json()) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def inject(self, model: str, *faults: str) -> None:
        """Breaks the model's engines in these ways; with none named, they are well again."""
        body = {"model": model, "faults": list(faults)}
        async with self.session.post(f"{self.control}/api/v1/faults", json=body) as response:
            if response.status != 200:
                raise DemoError(f"the daemon refused to inject faults: {await response.text()}")


@asynccontextmanager
async def started(config: Path) -> AsyncIterator[Daemon]:
    """Starts `sloctl serve` as a child, waits until it is ready, and stops it in the end.

    Its log goes to `daemon.log` beside the file. Raises DemoError if it ends or is not ready in time.
    """
    import aiohttp

    log = config.with_name("daemon.log")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sloctl.cli.main", "serve", "--config", str(config)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
            yield await _ready(process, log, session)
    finally:
        await _stop(process)


async def _ready(process: asyncio.subprocess.Process, log: Path, session: "aiohttp.ClientSession") -> Daemon:
    def addresses() -> Daemon | None:
        # The ports are the system's choice: asking for free ones beforehand could be outrun.
        found = dict(_ADDRESS.findall(log.read_text(errors="replace")))
        return Daemon(found["serving"], found["control"], session) if len(found) == 2 else None

    daemon = None
    for _ in range(int(_START_TIMEOUT / 0.1)):
        if process.returncode is not None:
            raise DemoError(f"the daemon ended with status {process.returncode}; the end of {log}:\n{_tail(log)}")
        daemon = daemon or addresses()
        if daemon is not None and await _says_ready(daemon):
            return daemon
        await asyncio.sleep(0.1)
    raise DemoError(f"the daemon was not ready within {_START_TIMEOUT:g} s; the end of {log}:\n{_tail(log)}")


async def _says_ready(daemon: Daemon) -> bool:
    status = await daemon.status()
    # A capacity is there once the variant has been warmed up and measured.
    return bool(status and status["ready"] and all(v["capacity"] for m in status["models"] for v in m["variants"]))


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
