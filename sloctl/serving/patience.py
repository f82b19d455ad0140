"""How long more requests may join the next batch: while the device is busy, and for as long as `batchWait` says."""

from collections.abc import Callable, Sequence
from math import inf

from sloctl.config.daemon import ModelConfig
from sloctl.serving.lane import LEAD, Lane
from sloctl.serving.pending import Pending
from sloctl.serving.queues import Line, Queues
from sloctl.serving.variant import Variant


class Patience:
    """Of one model."""

    __slots__ = ("_clock", "_lane", "_preferred", "_queues", "_route", "_wait")

    def __init__(
        self,
        config: ModelConfig,
        queues: Queues,
        lane: Lane,
        route: Callable[[int], Variant],
        clock: Callable[[], float],
    ) -> None:
        """`route` gives the variant of a class."""
        self._wait = config.batch_wait
        self._preferred = config.preferred_batch_sizes
        self._queues = queues
        self._lane = lane
        self._route = route
        self._clock = clock

    def until_next(self, lines: Sequence[Line]) -> float:
        """Seconds for which more requests may join the next batch on a device, of the lines that wait for it.

        That costs nothing while the device is busy (see `lane`), whatever with: it would not begin the batch sooner,
        so none is late for it. Infinite while no engine takes a batch.
        """
        ready = [line for line in lines if self._lane.takes(line.variant)]
        if not ready:
            return inf
        running = self._lane.busy(ready[0].variant)
        wait = min([self._left(line, running) for line in ready]) if self._wait else 0.0
        if not running:
            return wait
        first = self._queues.first(lines, self._route)
        # A full batch has nothing to wait for, unless others go before it.
        return 0.0 if first.full and first in ready else max(wait, running - LEAD, LEAD)

    def _left(self, line: Line, running: float) -> float:
        """What is left of `batchWait` since the first request came, but so that none is late for it."""
        if line.full or (not running and line.rows in self._preferred):
            return 0.0
        return max(min(line.since + self._wait, _halfway(line.soonest(), line)) - self._clock(), 0.0)

    def gathers(self, line: Line) -> bool:
        """Whether more may come within the `batchWait` of a line."""
        return self._wait > 0 and self._left(line, 0.0) > LEAD

    def ends(self, line: Line, pending: Pending, planned: float) -> bool:
        """Whether the next batch cannot wait until it was planned now that this request is in its line."""
        if line.rows - pending.rows < line.max_rows <= line.rows:
            return True  # full with this one
        if line.length == 1 and self._queues.length > 1:
            return True  # another variant than what is planned is about
        if not self._wait:
            return False
        return line.rows in self._preferred or _halfway(pending.enqueued + pending.deadline, line) < planned


def _halfway(ends: float, line: Line) -> float:
    """Until when a request may wait for others: half of what its batch leaves, as timers and batches may be late.

    `ends` is the sum of when it came and when it is due.
    """
    return (ends - line.variant.sizes.predict(line.rows)) / 2
