"""Which requests run together: pure, with the time injected.

One queue a priority class. A batch takes the highest class first and, in a class, the earliest first. All its
requests have the same shapes besides their rows. A request that does not fit ends the batch instead of being
overtaken, so that large requests are not starved; one of other shapes waits for a batch of its own. What has
expired never reaches an engine.
"""

from collections import deque
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What a batcher asks of a request."""

    @property
    def rows(self) -> int:
        """Rows that it adds to a batch."""

    @property
    def signature(self) -> object:
        """Equal for requests that can share a batch."""

    @property
    def priority(self) -> int:
        """Index of its class, 0 highest."""

    @property
    def deadline(self) -> float:
        """When it is no longer worth running, in the clock of `now`."""


_T = TypeVar("_T", bound=Queued)


class Batcher(Generic[_T]):
    """The queues of one model. Adding costs O(1), a batch O(requests that it looks at)."""

    __slots__ = ("_queues", "_rows", "length", "max_rows", "rows")

    def __init__(self, classes: int, max_rows: int) -> None:
        self._queues: tuple[deque[_T], ...] = tuple(deque() for _ in range(classes))
        self.max_rows = max_rows
        self._rows = [0] * classes
        self.length = 0  # requests that wait
        self.rows = 0  # rows that wait

    def ahead(self, priority: int) -> tuple[int, int]:
        """Requests and rows that go before a new request of this class: its own class and the higher ones."""
        if not self.length:
            return 0, 0
        end = priority + 1
        return sum(map(len, self._queues[:end])), sum(self._rows[:end])

    def add(self, request: _T) -> None:
        """Puts a request at the end of its class."""
        self._queues[request.priority].append(request)
        self.length += 1
        self.rows += request.rows
        self._rows[request.priority] += request.rows

    def evict(self, priority: int) -> _T | None:
        """Takes out the newest request of the lowest class below this one, None where only higher ones wait."""
        for index in range(len(self._queues) - 1, priority, -1):
            if self._queues[index]:
                request = self._queues[index].pop()
                self.length -= 1
                self.rows -= request.rows
                self._rows[index] -= request.rows
                return request
        return None

    def lowest(self) -> int:
        """Index of the lowest class that waits, -1 where none does."""
        return next((index for index in range(len(self._queues) - 1, -1, -1) if self._queues[index]), -1)

    def take(self, now: float) -> tuple[list[_T], list[_T]]:
        """The next batch (empty if nothing waits) and the requests that expired before it."""
        batch: list[_T] = []
        expired: list[_T] = []
        room = self.max_rows
        for queue in self._queues:
            if queue and room > 0:
                room = self._fill(queue, now, room, batch, expired)
        for request in (*batch, *expired):
            self.rows -= request.rows
            self._rows[request.priority] -= request.rows
        self.length -= len(batch) + len(expired)
        return batch, expired

    def _fill(self, queue: "deque[_T]", now: float, room: int, batch: list[_T], expired: list[_T]) -> int:
        """Moves what fits from one class; returns the room left, 0 once a request did not fit."""
        others: list[_T] = []
        while queue and room > 0:
            request = queue.popleft()
            if request.deadline <= now:
                expired.append(request)
            elif batch and request.signature != batch[0].signature:
                others.append(request)
            elif request.rows > room:
                others.append(request)
                room = 0
            else:
                batch.append(request)
                room -= request.rows
        queue.extendleft(reversed(others))
        return room

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
            kept = [request for request in queue if id(request) not in gone]
            queue.clear()
            queue.extend(kept)
        self.length = sum(map(len, self._queues))
        self._rows = [sum(request.rows for request in queue) for queue in self._queues]
        self.rows = sum(self._rows)

    def clear(self) -> list[_T]:
        """Takes everything out."""
        everything = [request for queue in self._queues for request in queue]
        self.remove(everything)
        return everything
