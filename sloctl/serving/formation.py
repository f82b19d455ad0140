"""One batch being formed, class by class. Pure.

All its requests have the same shapes besides their rows. In a class the earliest go first: one that does not fit ends
the batch instead of being overtaken, so that large requests are not starved (alone it goes whatever its size, as the
largest batch may have become smaller while it waited); one of other shapes waits for a batch of its own, and those
behind it join only while it can still be in time after them.

How large the batch gets, by the latency table (`Sizes`), where "in time" means done before the deadline:

- What cannot be in time even alone is dropped, and never reaches an engine.
- If everything that fits is in time in one batch, the batch has all of it, but for what is done sooner in the batch
  after it (`Sizes.first_of`).
- Else it has as many of the first ones as are in time together, if the others can then be in time after them.
- Else somebody is late whatever is done, and the batch is the one with the most rows in time a second; what would be
  late in it is passed over. Batches that grew smaller for the sake of what is nearly late would do less a second, and
  so make all that follow late: the goodput would break down under the load that it is to be kept under.
- A lower class rides along in the room that is left, while everyone is in time and its rows make the batch longer
  by no more than they take at the best batch size: the device does as much a second as it ever does, and a batch of its
  own would keep the higher class waiting for longer.
"""

from collections.abc import Iterable, Sequence
from math import inf
from typing import Generic, Protocol, TypeVar

from sloctl.admission.fair_queue import Sharer
from sloctl.serving.sizes import Sizes

_LOOK = 8  # full batches, among which those for the best rate are looked for


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
    def tenant(self) -> Sharer:
        """Whose it is."""

    @property
    def deadline(self) -> float:
        """When it is no longer worth running, in the clock of `now`."""


_T = TypeVar("_T", bound=Queued)


class Queue(Protocol[_T]):
    """What waits in one class, the next one first: a deque, or what orders otherwise."""

    def __len__(self) -> int:
        """How many wait."""

    def popleft(self) -> _T:
        """Takes the next one out."""

    def extendleft(self, requests: Iterable[_T], /) -> None:
        """Puts what was taken out back, the last one first."""

    def refund(self, request: _T, /) -> None:
        """What was taken out and will not run shall not count as served."""


class Formation(Generic[_T]):
    """A batch of at most `room` rows that would start at `start`: `batch`, and what was `dropped` on the way."""

    __slots__ = ("_head", "_room", "_sizes", "_soonest", "_start", "_until", "batch", "closed", "dropped")

    def __init__(self, start: float, sizes: Sizes, room: int) -> None:
        self.batch: list[_T] = []
        self.dropped: list[_T] = []
        self.closed = False  # whether nothing of a lower class may join
        self._head: _T | None = None
        self._start = start
        self._sizes = sizes
        self._soonest = start + sizes.predict(1)
        self._room = room
        self._until = inf  # a batch that ends later makes one of other shapes late

    def add(self, queue: Queue[_T]) -> None:
        """Takes from the next class what belongs into the batch."""
        pulled: list[_T] = []
        found, before = self._pull(queue, self._room, pulled)
        if not found:
            chosen = found
        elif self.batch:
            chosen = self._riders(found)
        else:
            chosen = self._first(queue, found, before, pulled)
        if len(chosen) < len(found):
            self.closed = True
        if len(chosen) < len(pulled):
            gone = set(map(id, chosen))
            queue.extendleft([request for request in reversed(pulled) if id(request) not in gone])
        self._room -= _rows(chosen)
        self.batch += chosen

    def _pull(self, queue: Queue[_T], room: int, pulled: list[_T]) -> tuple[list[_T], int]:
        """What could join the batch, and how many of these come before all of other shapes; `pulled` gets both."""
        found: list[_T] = []
        before = -1
        while room > 0 and queue:
            request = queue.popleft()
            rows, deadline = request.rows, request.deadline
            if deadline <= self._soonest or (rows > 1 and deadline <= self._start + self._sizes.predict(rows)):
                self.dropped.append(request)
                queue.refund(request)
                continue
            pulled.append(request)
            if self._head is None:
                self._head = request
            if request.signature != self._head.signature:
                before = len(found) if before < 0 else before
                self._until = min(self._until, deadline - self._sizes.predict(rows))
            elif rows > room and (found or self.batch):
                self.closed = True
                break
            else:
                found.append(request)
                room -= rows
        return found, len(found) if before < 0 else before

    def _first(self, queue: Queue[_T], found: list[_T], before: int, pulled: list[_T]) -> list[_T]:
        """The batch of the highest class."""
        start, sizes = self._start, self._sizes
        rows = _rows(found)
        end = start + sizes.predict(rows)
        if end >= self._until:
            found = found[: max(before, in_time(found, start, sizes, self._until))]
            rows = _rows(found)
            end = start + sizes.predict(rows)
        if end >= min([request.deadline for request in found]):
            return self._part(queue, len(found), pulled)
        first = sizes.first_of(rows)
        return found if first == rows else _of_rows(found, first) or found

    def _part(self, queue: Queue[_T], most: int, pulled: list[_T]) -> list[_T]:
        """The batch where not all are in time together: of what is pulled, and some more of what is behind it."""
        start, sizes = self._start, self._sizes
        self.closed = True
        self._pull(queue, (_LOOK - 1) * self._room, pulled)
        head = pulled[0]
        alike = [request for request in pulled if request.signature == head.signature]
        count = min(in_time(alike, start, sizes), most)
        if all_in_time(alike[count:], start + sizes.predict(_rows(alike[:count])), sizes):
            return alike[:count]
        return most_in_time(alike, start, sizes) or [head]

    def _riders(self, found: list[_T]) -> list[_T]:
        """Those of a lower class that may ride along."""
        rows = _rows(self.batch)
        worth = self._sizes.predict(rows)  # seconds that the batch may take
        until = min(self._until, *[request.deadline for request in self.batch])
        count = 0
        for request in found:
            rows += request.rows
            until = min(until, request.deadline)
            worth += request.rows * self._sizes.cost.seconds_per_row
            seconds = self._sizes.predict(rows)
            if self._start + seconds >= until or seconds > worth * (1 + 1e-9):
                break
            count += 1
        return found[:count]


def in_time(requests: Sequence[Queued], start: float, sizes: Sizes, until: float = inf) -> int:
    """How many of the first requests are in time as one batch that starts at `start`, and ends before `until`."""
    rows, found = 0, 0
    for count, request in enumerate(requests, 1):
        rows += request.rows
        until = min(until, request.deadline)
        if count > 1 and rows > sizes.most:
            break
        if start + sizes.predict(rows) < until:
            found = count
    return found


def all_in_time(requests: Sequence[Queued], start: float, sizes: Sizes) -> bool:
    """Whether all are in time, in batches one after another, each of as many as are in time together."""
    while requests:
        count = in_time(requests, start, sizes)
        if not count:
            return False
        start += sizes.predict(_rows(requests[:count]))
        requests = requests[count:]
    return True


def most_in_time(requests: Sequence[_T], start: float, sizes: Sizes) -> list[_T]:
    """Those that make the batch with the most rows in time a second; what would be late in it is passed over."""
    best: list[_T] = []
    highest = (0.0, 0)
    for size in sizes.candidates:
        able = _able(requests, start + sizes.predict(size), sizes.most)
        chosen = able[: in_time(able, start, sizes)]
        rows = _rows(chosen)
        rate = (rows / max(sizes.predict(rows), 1e-9), rows)
        if rate > highest:
            best, highest = chosen, rate
    return _joined(requests, best, start, sizes)


def _joined(requests: Sequence[_T], chosen: Sequence[_T], start: float, sizes: Sizes) -> list[_T]:
    """Those chosen and whatever else of the requests is in time with them."""
    rows, members = _rows(chosen), set(map(id, chosen))
    until = min([request.deadline for request in chosen], default=inf)
    for request in requests:
        more, earliest = rows + request.rows, min(until, request.deadline)
        if id(request) not in members and more <= sizes.most and start + sizes.predict(more) < earliest:
            rows, until = more, earliest
            members.add(id(request))
    return [request for request in requests if id(request) in members]


def _able(requests: Sequence[_T], end: float, room: int) -> list[_T]:
    """The first ones with a later deadline than `end`, up to so many rows."""
    found: list[_T] = []
    for request in requests:
        if request.deadline > end:
            room -= request.rows
            if room < 0:
                break
            found.append(request)
    return found


def _rows(requests: Sequence[Queued]) -> int:
    return sum([request.rows for request in requests])


def _of_rows(requests: list[_T], rows: int) -> list[_T]:
    """The first requests that have exactly so many rows together, none if there are no such."""
    for count, request in enumerate(requests, 1):
        rows -= request.rows
        if rows <= 0:
            return requests[:count] if rows == 0 else []
    return []
