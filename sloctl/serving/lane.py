"""The calls in flight on a model's engines: how many there may be, how long they will take, which have hung.

When to hand a batch over. A device works through its batches one after another, and what it needs to stay busy is
the next one in hand before it ends the current one; more than that only makes batches smaller and queues longer.
So while a call runs, another batch goes beside it if

- it is full: waiting would gain nothing, and its inputs are copied while the device computes; or
- the calls in flight should be done within `LEAD`: until then everything that arrives joins the batch, which costs
  it nothing, since the device would not have begun it earlier.

A request thus waits for the calls before it no longer than they are predicted to need, and if one takes longer than
predicted the next batch goes beside it. An idle engine is given whatever there is, at once. Timers of the event loop
tick in milliseconds, so the second rule shows at batches of a few milliseconds and more; after a shorter one the
next is handed over when it has come back, or before it if it is full.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sloctl.serving.variant import Variant

LEAD = 1e-3  # seconds: a tick of the loop's timers, well above what handing over takes


@dataclass(slots=True, eq=False)
class Job:
    """A call on a variant's engine that should take `seconds`.

    `done` gets its result, or None if the call did not come back `limit` seconds after it should have begun.
    """

    variant: Variant
    rows: int
    seconds: float
    limit: float
    done: Callable[[Any], None]
    started: float = field(default=0.0)


class Lane:
    """The calls in flight on a model's engines, in their threads.

    An engine that takes one call at a time shares the processor with the others, so it takes turns with them; one
    that takes several has a device of its own to queue on. A call that takes too long is given up: its variant
    counts as hung until every such call has come back, and the lane is free for the other variants.
    """

    __slots__ = ("_clock", "_free", "_hung", "_last", "jobs")

    def __init__(self, free: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`free` is called whenever a call has come back or was given up."""
        self._free = free
        self._clock = clock
        self._hung: list[Job] = []
        self._last: dict[str, float] = {}  # when a call came back, by device
        self.jobs: list[Job] = []

    def takes(self, variant: Variant) -> bool:
        """Whether a call on this variant may start now."""
        if not self.jobs:
            return True
        if variant.concurrency == 1:
            return False
        return sum([job.variant is variant for job in self.jobs]) < variant.concurrency

    def last(self, variant: Variant) -> float:
        """When a call on the variant's device came back."""
        return self._last.get(variant.device, 0.0)

    def remaining(self, variant: Variant | None = None) -> float:
        """Seconds until the calls in flight (on this variant) should be done, one after another."""
        return self._remaining([job for job in self.jobs if variant is None or job.variant is variant])

    def busy(self, variant: Variant) -> float:
        """The same for the calls on the device that the variant is on."""
        if not self.jobs:
            return 0.0
        return self._remaining([job for job in self.jobs if job.variant.device == variant.device])

    def _remaining(self, jobs: list[Job]) -> float:
        if not jobs:
            return 0.0
        end = self.last(jobs[0].variant)
        for job in jobs:
            end = max(end, job.started) + job.seconds
        return max(end - self._clock(), 0.0)

    def start(self, job: Job, call: Callable[[], Any]) -> None:
        """Puts a call in flight; it must not raise."""
        job.limit += self.busy(job.variant)
        job.started = self._clock()
        self.jobs.append(job)
        job.variant.thread.submit(call, lambda result: self._back(job, result))

    def _back(self, job: Job, result: Any) -> None:
        if job in self._hung:  # it was given up, and has come back after all
            self._hung.remove(job)
            self._mark(job.variant)
        else:
            self.jobs.remove(job)
            job.done(result)
        self._last[job.variant.device] = self._clock()
        self._free()

    def watch(self) -> None:
        """Gives up the calls that have taken too long."""
        now = self._clock()
        late = [job for job in self.jobs if now - job.started > job.limit]
        for job in late:
            self.jobs.remove(job)
            self._hung.append(job)
            self._mark(job.variant)
            job.done(None)
        if late:
            self._free()

    def _mark(self, variant: Variant) -> None:
        variant.hung_since = min((job.started for job in self._hung if job.variant is variant), default=None)
