"""The programs of `sloctl stack`: found, started, waited for, and ended."""

import asyncio
import random
import shutil
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

_NAMES: Mapping[str, Sequence[str]] = {
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),  # Debian's name, and its own
}
_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_NOBODYS = range(20_000, 32_000)  # ports that Linux gives to no outgoing connection before the server binds its own


class StackError(Exception):
    """The stack cannot go on; the message is for people."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: its log, and the address that answers with 200 once it is ready."""

    name: str
    command: tuple[str, ...]
    log: Path
    ready: str


def find() -> dict[str, str]:
    """The paths of Prometheus and Alertmanager by their names. Raises StackError with what to install."""
    found = {name: next(filter(None, map(shutil.which, names)), None) for name, names in _NAMES.items()}
    if missing := [name for name, path in found.items() if path is None]:
        packages = " ".join(_NAMES[name][0] for name in missing)
        raise StackError(
            f"{' and '.join(missing)} not found. On Debian and Ubuntu: sudo apt-get install {packages}; "
            "elsewhere: unpack it from https://prometheus.io/download/ and put it on the PATH"
        )
    return {name: path for name, path in found.items() if path is not None}


def ports(wanted: Sequence[int]) -> list[int]:
    """Ports on loopback: those wanted where they are free, others where not (and for 0)."""
    found = []
    with ExitStack() as held:  # all at once, so that none is there twice
        for port in wanted:
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(listener, port)
            found.append(int(listener.getsockname()[1]))
    return found


def _bind(listener: socket.socket, wanted: int) -> None:
    """Raises OSError where not one port can be had."""
    others = random.sample(_NOBODYS, 100)
    for port in [*([wanted] if wanted else []), *others]:
        with suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return
    listener.bind(("127.0.0.1", 0))


@asynccontextmanager
async def running(program: Program, session: "aiohttp.ClientSession") -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts a program, waits until it is ready, and stops it in the end. Raises StackError."""
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, who end them in order
        )
    try:
        await _ready(program, process, session)
        yield process
    finally:
        await _stop(process)


def ended(program: Program, status: int | None) -> StackError:
    """The error that a program which ended is."""
    tail = "\n".join(program.log.read_text(errors="replace").splitlines()[-15:])
    return StackError(f"{program.name} ended with status {status}; the end of {program.log}:\n{tail}")


async def _ready(program: Program, process: asyncio.subprocess.Process, session: "aiohttp.ClientSession") -> None:
    for _ in range(int(_START_TIMEOUT / 0.1)):
        if process.returncode is not None:
            raise ended(program, process.returncode)
        if await _answers(session, program.ready):
            return
        await asyncio.sleep(0.1)
    raise StackError(f"{program.name} was not ready within {_START_TIMEOUT:g} s; see {program.log}")


async def _answers(session: "aiohttp.ClientSession", url: str) -> bool:
    import aiohttp

    try:
        async with session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
