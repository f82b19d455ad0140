"""Which requests run together: pure, with the time injected.

One queue a priority class, in which the tenants take turns where they are told apart. How a batch is formed of them is
in `formation`.
"""

from math import inf
from typing import Generic, TypeVar

from sloctl.admission.fair_queue import FairQueue, Fifo, Sharer
from sloctl.serving.cost import Cost
from sloctl.serving.formation import Formation, Queued
from sloctl.serving.sizes import Sizes

_FREE = Sizes(Cost({1: 0.0}), 1)  # batches that take no time

_T = TypeVar("_T", bound=Queued)


class Batcher(Generic[_T]):
    """The queues of one model. Adding costs O(1), a batch O(requests that it looks at)."""

    __slots__ = ("_queues", "_rows", "length", "max_rows", "rows")

    def __init__(self, classes: int, max_rows: int, *, fair: bool = False) -> None:
        """With `fair` the tenants of a class take turns."""
        self._queues: tuple[FairQueue[_T] | Fifo[_T], ...] = tuple(
            FairQueue() if fair else Fifo() for _ in range(classes)
        )
        self.max_rows = max_rows
        self._rows = [0] * classes
        self.length = 0  # requests that wait
        self.rows = 0  # rows that wait

    def ahead(self, priority: int, tenant: Sharer | None = None) -> tuple[int, float]:
        """Requests of this class and the higher ones, and the rows of theirs that go before a new one of a tenant."""
        if not self.length:
            return 0, 0
        queue = self._queues[priority]
        rows: float = self._rows[priority]
        if tenant is not None and isinstance(queue, FairQueue):
            rows = min(rows, queue.ahead(tenant))
        return sum(map(len, self._queues[: priority + 1])), sum(self._rows[:priority]) + rows

    def add(self, request: _T) -> None:
        """Puts a request at the end of its class."""
        self._queues[request.priority].append(request)
        self.length += 1
        self.rows += request.rows
        self._rows[request.priority] += request.rows

    def yields(self, priority: int, tenant: Sharer) -> bool:
        """Whether a place is there to take for a new request: in a lower class, or of a tenant with more waiting."""
        return any(self._queues[priority + 1 :]) or self._queues[priority].yields(tenant)

    def evict(self, priority: int) -> _T | None:
        """Takes out the newest request of the lowest class down to this one, None where only higher ones wait.

        In a class it is that of the tenant with most waiting.
        """
        for index in range(len(self._queues) - 1, priority - 1, -1):
            if self._queues[index]:
                request = self._queues[index].evict()
                self.length -= 1
                self.rows -= request.rows
                self._rows[index] -= request.rows
                return request
        return None

    def take(self, now: float, busy: float = 0.0, sizes: Sizes = _FREE) -> tuple[list[_T], list[_T]]:
        """The next batch (empty if nothing waits), and the requests that could not be in time even alone.

        The batch would start in `busy` seconds and take as long as `sizes` says.
        """
        forming: Formation[_T] = Formation(now + busy, sizes, self.max_rows)
        for queue in self._queues:
            if queue and not forming.closed:
                forming.add(queue)
        batch, dropped = forming.batch, forming.dropped
        for request in (*batch, *dropped):
            self.rows -= request.rows
            self._rows[request.priority] -= request.rows
        self.length -= len(batch) + len(dropped)
        return batch, dropped

    def expire(self, now: float) -> list[_T]:
        """Takes out what has expired, for moments when no batch is taken."""
        expired = [request for queue in self._queues for request in queue if request.deadline <= now]
        if expired:
            self.remove(expired)
        return expired

    def earliest(self) -> float:
        """The earliest deadline of what waits, infinite if nothing does."""
        return min((request.deadline for queue in self._queues for request in queue), default=inf)

    def remove(self, requests: list[_T]) -> None:
        """Takes these requests out."""
        gone = set(map(id, requests))
        for queue in self._queues:
            queue.discard(gone)
        self.length = sum(map(len, self._queues))
        self._rows = [sum(request.rows for request in queue) for queue in self._queues]
        self.rows = sum(self._rows)

    def clear(self) -> list[_T]:
        """Takes everything out."""
        everything = [request for queue in self._queues for request in queue]
        self.remove(everything)
        return everything
