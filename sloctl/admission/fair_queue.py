"""The order inside a priority class: fair among tenants, first come first served inside each. Pure.

Algorithm. Self-clocked fair queueing (Golestani 1994) in rows: a tenant's next request has the start tag at which its
last one finished, and finishes rows/weight later; the least finish tag goes first. A tenant that comes anew starts
at the tag that was served last, so it neither jumps a round nor has saved one up by waiting. Between tenants that
both wait, what was served differs by at most one largest request over its weight. Tags are whole numbers, so that a
request which is put back leaves them exactly as they were.

Start-time fair queueing would serve a newcomer sooner still, but an endless row of newcomers would starve those that
wait; deficit round robin is off by a quantum.

Space: one tag for each tenant that waits, nothing for the others. Locking: none; one thread uses it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, Protocol, TypeVar

_UNIT = 1 << 20  # what a row costs a tenant of weight 1


class Sharer(Protocol):
    """A tenant, as far as a queue asks about it."""

    @property
    def name(self) -> str:
        """Equal for requests of one tenant."""

    @property
    def weight(self) -> float:
        """Its part of the queue, against the weights of the others."""


class Waiting(Protocol):
    """What the queue asks of a request."""

    @property
    def rows(self) -> int:
        """What it costs."""

    @property
    def tenant(self) -> Sharer:
        """Whose it is."""


_T = TypeVar("_T", bound=Waiting)
_A = TypeVar("_A")


class Fifo(deque[_A]):
    """The queue of a class where there are no tenants: a deque, and what a fair queue has besides."""

    __slots__ = ()

    def refund(self, request: _A) -> None:
        """A request that was taken shall not count as served; here nothing counts."""

    def yields(self, _: Sharer) -> bool:
        """Whether one more request could take the place of another: among equals none does."""
        return False

    def evict(self) -> _A:
        """Takes out the newest request."""
        return self.pop()

    def discard(self, gone: set[int]) -> None:
        """Takes out the requests with these ids."""
        kept = [request for request in self if id(request) not in gone]
        self.clear()
        self.extend(kept)


class _Flow(Generic[_T]):
    """A tenant's requests: `start` is the tag of the first, `entry` its place in the heap."""

    __slots__ = ("entry", "items", "name", "price", "rows", "start", "weight")

    def __init__(self, tenant: Sharer, start: int) -> None:
        self.name = tenant.name
        self.weight = tenant.weight
        self.price = round(_UNIT / tenant.weight)  # of a row
        self.start = start
        self.items: deque[_T] = deque()
        self.rows = 0
        self.entry: _Entry[_T] | None = None


_Entry = tuple[int, int, _Flow[_T]]  # finish tag, and the order among equal ones


class FairQueue(Generic[_T]):
    """As a deque whose left end is the next request in fair order. Adding and taking cost O(log tenants)."""

    __slots__ = ("_flows", "_front", "_heap", "_length", "_order", "_taken", "_virtual", "_weights")

    def __init__(self) -> None:
        self._flows: dict[str, _Flow[_T]] = {}
        self._heap: list[_Entry[_T]] = []  # an entry is stale unless it is that of its flow
        self._taken: list[_Flow[_T]] = []  # from, since something was added last: it may be put back
        self._virtual = 0  # finish tag of what was served last
        self._order = 0  # of what joins, behind equal tags
        self._front = 0  # of what is put back, before them
        self._length = 0
        self._weights = 0.0  # of all that wait

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[_T]:
        """All that wait, tenant by tenant."""
        for flow in self._flows.values():
            yield from flow.items

    def append(self, request: _T) -> None:
        """Adds a request behind those of its tenant."""
        if self._taken:
            self._settle()
        flow = self._flows.get(request.tenant.name)
        if flow is None:
            flow = self._flows[request.tenant.name] = _Flow(request.tenant, self._virtual)
            self._weights += flow.weight
        flow.items.append(request)
        flow.rows += request.rows
        self._length += 1
        if flow.entry is None:
            self._order += 1
            self._place(flow, self._order)

    def popleft(self) -> _T:
        """Takes the next request; IndexError where none waits."""
        heap = self._heap
        while heap[0][2].entry is not heap[0]:
            heappop(heap)
        flow = heap[0][2]
        request = flow.items.popleft()
        flow.rows -= request.rows
        flow.start = heap[0][0]
        self._length -= 1
        self._taken.append(flow)
        if flow.items:
            self._order += 1
            flow.entry = (flow.start + flow.items[0].rows * flow.price, self._order, flow)
            heapreplace(heap, flow.entry)
        else:
            flow.entry = None
            heappop(heap)
        return request

    def extendleft(self, requests: Iterable[_T]) -> None:
        """Puts back, the last taken first, what was taken since something was added; it has cost nothing then."""
        moved: dict[str, _Flow[_T]] = {}
        for request in requests:
            flow = self._flows[request.tenant.name]
            flow.items.appendleft(request)
            flow.rows += request.rows
            flow.start -= request.rows * flow.price
            self._length += 1
            moved.pop(flow.name, None)  # the order of the first of each
            moved[flow.name] = flow
        for flow in moved.values():
            self._front -= 1
            self._place(flow, self._front)

    def refund(self, request: _T) -> None:
        """A request that was taken shall not count as served."""
        flow = self._flows[request.tenant.name]
        flow.start -= request.rows * flow.price
        if flow.entry is not None:
            self._front -= 1
            self._place(flow, self._front)

    def yields(self, tenant: Sharer) -> bool:
        """Whether someone has more waiting, against its weight, than this tenant with one more row. O(tenants)."""
        flow = self._flows.get(tenant.name)
        own = ((flow.rows if flow else 0) + 1) * round(_UNIT / tenant.weight)
        return any(each.rows * each.price > own for each in self._flows.values())

    def evict(self) -> _T:
        """Takes out the newest request of the tenant with most waiting against its weight. O(tenants)."""
        flow = max(self._flows.values(), key=lambda each: each.rows * each.price)
        request = flow.items.pop()
        flow.rows -= request.rows
        self._length -= 1
        if not flow.items:
            self._drop(flow)
        return request

    def discard(self, gone: set[int]) -> None:
        """Takes out the requests with these ids; they have cost nothing. O(requests)."""
        for flow in list(self._flows.values()):
            flow.items = deque(request for request in flow.items if id(request) not in gone)
            flow.rows = sum(request.rows for request in flow.items)
            if not flow.items:
                self._drop(flow)
            elif flow.entry is not None:
                self._place(flow, flow.entry[1])
        self._length = sum(len(flow.items) for flow in self._flows.values())

    def ahead(self, tenant: Sharer) -> float:
        """Rows that go before one more row of this tenant, if those that wait now are all that come."""
        flow = self._flows.get(tenant.name)
        own, weights = (0, self._weights + tenant.weight) if flow is None else (flow.rows, self._weights)
        return (own + 1) * weights / tenant.weight - 1

    def _place(self, flow: _Flow[_T], order: int) -> None:
        flow.entry = (flow.start + flow.items[0].rows * flow.price, order, flow)
        heappush(self._heap, flow.entry)
        if len(self._heap) > 2 * len(self._flows) + 8:
            self._heap = [each.entry for each in self._flows.values() if each.entry is not None]
            heapify(self._heap)

    def _settle(self) -> None:
        """What was taken and not put back has been served."""
        for flow in self._taken:
            self._virtual = max(self._virtual, flow.start)
            if not flow.items and flow.name in self._flows:
                self._drop(flow)
        self._taken.clear()

    def _drop(self, flow: _Flow[_T]) -> None:
        del self._flows[flow.name]
        flow.entry = None
        self._weights = self._weights - flow.weight if self._flows else 0.0
