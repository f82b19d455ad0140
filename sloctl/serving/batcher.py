"""Which requests run together: pure, with the time injected.

One queue a priority class, in which the tenants take turns where they are told apart. How a batch is formed of them is
in `formation`.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from sloctl.admission.fair_queue import FairQueue, Fifo, Sharer
from sloctl.admission.reserve import Reserve
from sloctl.serving.cost import Cost
from sloctl.serving.formation import Formation, Queued
from sloctl.serving.sizes import Sizes

_FREE = Sizes(Cost({1: 0.0}), 1)  # batches that take no time

_T = TypeVar("_T", bound=Queued)


class Batcher(Generic[_T]):
    """The queues of one model. Adding costs O(1), a batch O(requests that it looks at)."""

    __slots__ = ("_queues", "_reserve", "_rows", "length", "max_rows", "rows")

    def __init__(self, classes: int, max_rows: int, *, fair: bool = False, reserve: Reserve | None = None) -> None:
        """With `fair` the tenants of a class take turns; `reserve` has the shares of the rows by class."""
        self._queues: tuple[FairQueue[_T] | Fifo[_T], ...] = tuple(
            FairQueue() if fair else Fifo() for _ in range(classes)
        )
        self._reserve = reserve
        self.max_rows = max_rows
        self._rows = [0] * classes
        self.length = 0  # requests that wait
        self.rows = 0  # rows that wait

    def ahead(self, priority: int, tenant: Sharer | None = None) -> float:
        """Rows of this class and the higher ones that go before a new request of a tenant."""
        rows: float = self._rows[priority]
        if tenant is not None and isinstance(queue := self._queues[priority], FairQueue):
            rows = min(rows, queue.ahead(tenant))
        before: float = sum(self._rows[:priority]) if priority else 0
        if self._reserve is not None:
            before = min(before, self._reserve.rows_before(priority, rows + 1))
        return before + rows

    def add(self, request: _T) -> None:
        """Puts a request at the end of its class."""
        self._queues[request.priority].append(request)
        self.length += 1
        self.rows += request.rows
        self._rows[request.priority] += request.rows

    def yields(self, priority: int, tenant: Sharer) -> bool:
        """Whether a place is there to take for a new request: of another class, or of a tenant with more waiting."""
        return self._gives_way(priority) >= 0 or self._queues[priority].yields(tenant)

    def evict(self, priority: int) -> _T | None:
        """Takes out the newest request of the class that gives way to this one, else of this; None without any.

        In a class it is that of the tenant with most waiting.
        """
        other = self._gives_way(priority)
        index = other if other >= 0 else priority
        if not self._queues[index]:
            return None
        request = self._queues[index].evict()
        self.length -= 1
        self.rows -= request.rows
        self._rows[index] -= request.rows
        return request

    def _gives_way(self, priority: int) -> int:
        """The lowest class with more of the queue than its reserved share that is below this one, -1 without any.

        To a class with less than its own share the higher ones give way, too. Shares are of all that share a reserve.
        """
        queues = self._queues
        if self._reserve is None:
            return next((index for index in range(len(queues) - 1, priority, -1) if queues[index]), -1)
        shares, waiting = self._reserve.shares, self.waiting()
        total = sum(waiting)
        end = -1 if waiting[priority] < shares[priority] * total else priority
        for index in range(len(queues) - 1, end, -1):
            if index != priority and queues[index] and waiting[index] > shares[index] * total:
                return index
        return -1

    def take(self, now: float, busy: float = 0.0, sizes: Sizes = _FREE) -> tuple[list[_T], list[_T]]:
        """The next batch (empty if nothing waits), and the requests that could not be in time even alone.

        The batch would start in `busy` seconds and take as long as `sizes` says.
        """
        if self.length == 1 and self._reserve is None:
            return self._take_only(now + busy, sizes)
        forming: Formation[_T] = Formation(now + busy, sizes, self.max_rows)
        waited = self.waiting()
        for queue in self._order(waited):
            if queue and not forming.closed:
                forming.add(queue)
        batch, dropped = forming.batch, forming.dropped
        for request in (*batch, *dropped):
            self.rows -= request.rows
            self._rows[request.priority] -= request.rows
        if self._reserve is not None:
            ran = [0] * len(waited)
            for request in batch:
                ran[request.priority] += request.rows
            self._reserve.ran(waited, ran, self.max_rows)
        self.length -= len(batch) + len(dropped)
        return batch, dropped

    def _take_only(self, start: float, sizes: Sizes) -> tuple[list[_T], list[_T]]:
        """The same for the only request that waits: nothing is to be formed."""
        index = next(index for index, queue in enumerate(self._queues) if queue)
        queue = self._queues[index]
        request = queue.popleft()
        self.length = self.rows = self._rows[index] = 0
        if request.deadline > start + sizes.predict(request.rows):
            return [request], []
        queue.refund(request)
        return [], [request]

    def waiting(self) -> tuple[int, ...]:
        """Requests that wait by class, of all that share a reserve."""
        return tuple(map(len, self._queues))

    def _order(self, waiting: Sequence[int]) -> "Iterable[FairQueue[_T] | Fifo[_T]]":
        """The queues as a batch is filled from them: the highest first, but for a class with a credit."""
        lead = 0 if self._reserve is None else self._reserve.leads(waiting)
        if lead <= 0:
            return self._queues
        return (self._queues[lead], *self._queues[:lead], *self._queues[lead + 1 :])

    def expire(self, now: float) -> list[_T]:
        """Takes out what has expired, for moments when no batch is taken."""
        expired = [request for queue in self._queues for request in queue if request.deadline <= now]
        if expired:
            self.remove(expired)
        return expired

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
