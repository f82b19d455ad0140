"""Open-loop load from processes of their own: each plays its part of the arrivals, and all begin at one moment.

Poisson arrivals of rates r/k in k processes are together Poisson arrivals of rate r. Clients may retry: then the
arrivals stay open-loop, and what follows a refusal is added to them, as the clients of a service do it.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import uvloop

from bench.overload.channel import Channels
from bench.overload.clients import Clients
from sloctl.load.driver import Answer, drive
from sloctl.load.results import Record
from sloctl.load.schedule import Arrival, Phase, Schedule, plan

_LEAD = 0.5  # seconds from the order to the first arrival: until then every process is ready
_PREPARED = 64  # connections, so that a rise in load finds some


@dataclass(frozen=True)
class Stream:
    """Arrivals of some classes, by weight; those of several streams are played together."""

    phases: Sequence[Phase]
    mix: Mapping[str, float]


@dataclass(frozen=True)
class Job:
    """What one process plays. `requests` are whole HTTP requests by priority class; `start` is monotonic."""

    url: str
    requests: Mapping[str, bytes]
    streams: tuple[Stream, ...]
    seed: int
    patience: float
    clients: Clients
    start: float = 0.0


@dataclass(frozen=True)
class Played:
    """What became of a load: its records in order of their schedule, when it began (monotonic), and attempts made."""

    records: list[Record]
    start: float
    attempts: int

    def of(self, phase: str) -> list[Record]:
        """The records of one phase."""
        return [record for record in self.records if record.phase == phase]


class Drivers:
    """So many processes, started once."""

    def __init__(self, count: int) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(count)
        self._count = count

    def begin(
        self,
        url: str,
        requests: Mapping[str, bytes],
        streams: Sequence[Stream],
        seed: int,
        patience: float,
        clients: Clients,
    ) -> tuple[float, Callable[[], Played]]:
        """Starts a load; gives the moment of its first phase, and what waits for its end."""
        start = time.monotonic() + _LEAD
        job = Job(url, requests, tuple(map(self._part, streams)), seed, patience, clients, start)
        jobs = [replace(job, seed=seed * 1009 + number) for number in range(self._count)]
        result = self._pool.map_async(play, jobs, chunksize=1)

        def join() -> Played:
            parts = result.get()
            records = sorted((r for records, _ in parts for r in records), key=lambda record: record.scheduled)
            return Played(records, start, sum(attempts for _, attempts in parts))

        return start, join

    def _part(self, stream: Stream) -> Stream:
        """What falls to one of the processes."""
        return Stream([replace(phase, rate=phase.rate / self._count) for phase in stream.phases], stream.mix)

    def close(self) -> None:
        """Ends them."""
        self._pool.terminate()
        self._pool.join()


def play(job: Job) -> tuple[list[Record], int]:
    """Plays a job in this process; its records and the attempts that it took."""
    return uvloop.run(_play(job))


async def _play(job: Job) -> tuple[list[Record], int]:
    schedule = _together(job.streams, job.seed)
    channels, records = Channels(job.url), list[Record]()
    attempts = 0

    async def once(arrival: Arrival) -> Answer:
        nonlocal attempts
        attempts += 1
        return await channels.exchange(job.requests[arrival.priority], job.patience)

    send = job.clients.around(once)
    await channels.prepare(_PREPARED)
    await asyncio.sleep(max(job.start - time.monotonic(), 0.0))
    await drive(schedule, send, records.append)
    channels.close()
    return records, attempts


def _together(streams: Sequence[Stream], seed: int) -> Schedule:
    """The arrivals of all streams in order of time; their phases are those of the first."""
    made = [plan(stream.phases, stream.mix, seed * 31 + number) for number, stream in enumerate(streams)]
    arrivals = sorted((arrival for each in made for arrival in each.arrivals), key=lambda arrival: arrival.at)
    return Schedule(made[0].phases, tuple(arrivals))
