"""Sends a schedule's requests at their moments, and records what became of each."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sloctl.load.results import Record
from sloctl.load.schedule import Arrival, Schedule


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended: HTTP status (0: no answer), the variant that served it, or why there was no result.

    `retry_after` are the seconds after which the server would have it again, where it says so.
    """

    status: int
    variant: str | None = None
    reason: str | None = None
    retry_after: float | None = None


Send = Callable[[Arrival], Awaitable[Answer]]
"""Sends one request and waits for its answer. It must not raise."""


async def drive(
    schedule: Schedule,
    send: Send,
    observe: Callable[[Record], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Plays the schedule from now on; returns once every request has ended.

    `observe` gets each record as its request ends. Requests never wait for one another: each is a task of its
    own, and a driver that fell behind sends what is due at once.
    """
    start = clock()

    async def one(arrival: Arrival) -> None:
        sent = clock() - start
        answer = await send(arrival)
        finished = clock() - start
        observe(
            Record(
                phase=arrival.phase,
                priority=arrival.priority,
                scheduled=arrival.at,
                sent=sent,
                finished=finished,
                status=answer.status,
                variant=answer.variant,
                reason=answer.reason,
            )
        )

    async with asyncio.TaskGroup() as group:
        for arrival in schedule.arrivals:
            # Also when it is due: sleep(0) lets the requests under way go on.
            await sleep(max(arrival.at - (clock() - start), 0.0))
            group.create_task(one(arrival))
        await sleep(max(schedule.seconds - (clock() - start), 0.0))
