"""What waits for the variants of one model: a line for each, since requests of two variants never share a batch.

Without tiers and wishes there is one line, that of the serving variant. Where several have something, the one with the
highest class goes next, or the one with the class whose reserved share is due; of equals the one whose turn is longest
ago. A slower variant than that of the class, which requests insist on, has no turn while more than a batch waits for
that of the class. So a variant that takes nothing for now holds up nobody else's line, and who insists on a slow one
takes no more than what the others leave.

A request is in the line of the variant that is to serve it. When that changes (a switch, a tier, a variant that is
gone), `move` puts what waits where it belongs.
"""

from collections.abc import Callable, Iterator, Sequence
from math import inf

from sloctl.admission.reserve import Reserve
from sloctl.admission.tenants import Tenant
from sloctl.admission.tiers import Unmet
from sloctl.serving.batcher import Batcher
from sloctl.serving.pending import Pending
from sloctl.serving.variant import Variant


def _never(_: object) -> bool:
    return False


class Line(Batcher[Pending]):
    """What waits for one variant; `since` is when its first request came."""

    __slots__ = ("_others", "since", "variant")

    def __init__(
        self, variant: Variant, classes: int, max_rows: int, others: "Queues", *, fair: bool, reserve: Reserve | None
    ) -> None:
        super().__init__(classes, max_rows, fair=fair, reserve=reserve)
        self._others = others
        self.variant = variant
        self.since = 0.0

    def add(self, request: Pending) -> None:
        """Puts a request at the end of its class."""
        if not self.length:
            self.since = request.enqueued
        super().add(request)

    def __iter__(self) -> Iterator[Pending]:
        """What waits, highest class first."""
        for queue in self._queues:
            yield from queue

    def waiting(self) -> tuple[int, ...]:
        """Requests that wait by class, in all lines."""
        return self._others.waiting() if self._reserve is not None else ()

    @property
    def counts(self) -> tuple[int, ...]:
        """Requests that wait by class, in this line."""
        return super().waiting()

    def head(self, lead: int) -> int:
        """The class that is first in it: the leading one while it waits here, else the highest."""
        return lead if self._queues[lead] else next(index for index, queue in enumerate(self._queues) if queue)

    def soonest(self) -> float:
        """The least sum of when a request came and its deadline, infinite if nothing waits."""
        return min((request.enqueued + request.deadline for request in self), default=inf)

    def above(self, priority: int) -> int:
        """Rows of the classes above one."""
        return sum(self._rows[:priority])

    @property
    def full(self) -> bool:
        """Whether its next batch has no room for more."""
        return self.rows >= self.max_rows

    def loses(self, priority: int) -> int:
        """The class that would give way to a new request of this one, -1 without any."""
        return self._gives_way(priority)


class Queues:
    """The lines of one model. Costs O(variants) beside what a `Batcher` costs."""

    __slots__ = ("_classes", "_fair", "_lines", "_max_rows", "_reserve")

    def __init__(self, classes: int, max_rows: int, *, fair: bool = False, reserved: Sequence[float] = ()) -> None:
        """With `fair` the tenants of a class take turns, in each line for itself; `reserved` are shares by class."""
        self._classes = classes
        self._reserve = Reserve(reserved) if any(reserved) else None
        self._fair = fair
        self._max_rows = max_rows
        self._lines: dict[Variant, Line] = {}  # longest ago first

    def __iter__(self) -> Iterator[Line]:
        """The lines, the one whose turn is longest ago first."""
        return iter(list(self._lines.values()))

    @property
    def length(self) -> int:
        """Requests that wait."""
        total = 0
        for line in self._lines.values():
            total += line.length
        return total

    def besides(self, serving: Variant | None) -> list[Variant]:
        """The other variants that something waits for."""
        return [line.variant for line in self._lines.values() if line.length and line.variant is not serving]

    @property
    def max_rows(self) -> int:
        """The largest batch."""
        return self._max_rows

    @max_rows.setter
    def max_rows(self, rows: int) -> None:
        self._max_rows = rows
        for line in self._lines.values():
            line.max_rows = rows

    def line(self, variant: Variant) -> Line:
        """The line of a variant."""
        found = self._lines.get(variant)
        if found is None:
            rows, reserve = self._max_rows, self._reserve
            found = self._lines[variant] = Line(variant, self._classes, rows, self, fair=self._fair, reserve=reserve)
        return found

    def waiting_for(self, variant: Variant) -> int:
        """Requests that wait for a variant."""
        line = self._lines.get(variant)
        return line.length if line is not None else 0

    def elsewhere(self, variant: Variant) -> int:
        """Requests that wait for others than this variant."""
        if len(self._lines) == 1 and variant in self._lines:
            return 0
        return self.length - self.waiting_for(variant)

    def by_device(self) -> list[list[Line]]:
        """The lines that have something, apart for each device."""
        lines = [line for line in self._lines.values() if line.length]
        if len(lines) == 1:
            return [lines]
        found: dict[str, list[Line]] = {}
        for line in lines:
            found.setdefault(line.variant.device, []).append(line)
        return list(found.values())

    def first(
        self, lines: Sequence[Line], route: Callable[[int], Variant], gathers: Callable[[Line], bool] = _never
    ) -> Line:
        """Whose turn it is among lines that have something, with those that want no more rows before their equals.

        `route` gives the variant of a class, `gathers` whether a line would rather wait for more rows.
        """
        if len(lines) == 1:
            return lines[0]
        waiting = self.waiting()
        highest = next(index for index, count in enumerate(waiting) if count)
        lead = highest if self._reserve is None else self._reserve.leads(waiting)
        return min(lines, key=lambda each: (*self._place(each, lead, route), gathers(each)))

    def turn(self, lines: Sequence[Line], route: Callable[[int], Variant], gathers: Callable[[Line], bool]) -> Line:
        """The `first` of these lines, which has its turn now."""
        line = self.first(lines, route, gathers)
        if len(self._lines) > 1:
            self._lines[line.variant] = self._lines.pop(line.variant)
        return line

    def _place(self, line: Line, lead: int, route: Callable[[int], Variant]) -> tuple[int, bool]:
        head = line.head(lead)
        own = route(head)
        slower = line.variant.cost.seconds_per_row > own.cost.seconds_per_row
        return (-1 if head == lead else head), slower and self._rows_for(own) > line.max_rows

    def _rows_for(self, variant: Variant) -> int:
        line = self._lines.get(variant)
        return line.rows if line is not None else 0

    def yields(self, priority: int, tenant: Tenant) -> bool:
        """Whether a place is there to take for a new request (see `Batcher.yields`)."""
        return any(line.yields(priority, tenant) for line in self._lines.values())

    def evict(self, priority: int, tenant: Tenant) -> Pending | None:
        """Takes out a request of the line whose lowest class gives way to this one (see `Batcher.evict`)."""
        able = [line for line in self._lines.values() if line.yields(priority, tenant)]
        line = max(able, key=lambda line: (line.loses(priority), line.rows), default=None)
        return line.evict(priority) if line is not None else None

    def waiting(self) -> tuple[int, ...]:
        """Requests that wait by class."""
        return tuple(map(sum, zip(*[line.counts for line in self._lines.values()], strict=True)))

    def work(self, priority: int, variant: Variant, tenant: Tenant, own: Variant) -> float:
        """Seconds of the device that go before a new request of this class, whose variant is `own`, on a variant.

        Not less than if all that waits on the device ran on this variant: whoever asks for a slow variant while others
        are served with a fast one waits as if that held for all. So under overload they are the first to be refused.
        """
        pace = variant.cost.seconds_per_row
        if variant is own and len(self._lines) == 1 and variant in self._lines:
            return self._lines[variant].ahead(priority, tenant) * pace
        usual = own.cost.seconds_per_row
        seconds, total = 0.0, 0.0
        for line in self._lines.values():
            if line.length and line.variant.device == variant.device:
                each = line.variant.cost.seconds_per_row
                rows = line.ahead(priority, tenant)
                if each > usual >= pace:
                    rows = min(rows, line.above(priority) + line.max_rows)
                seconds += rows * each
                total += rows
        return max(seconds, total * pace)

    def move(self, where: Callable[[Pending], Variant | Unmet]) -> list[tuple[Pending, Unmet]]:
        """Puts each request in the line of the variant that `where` says; takes out and returns those without one.

        Nothing of what was expected holds afterwards, also of those behind which others have moved. Lines without any
        are gone, as one line alone is the quickest.
        """
        for line in self:
            for each in line:
                each.basis = None
        lost: list[tuple[Pending, Unmet]] = []
        for line in self:
            moved = [(each, to) for each in line if (to := where(each)) is not line.variant]
            if not moved:
                continue
            to = moved[0][1]
            whole = len(moved) == line.length and all(other is to for _, other in moved)
            if whole and not isinstance(to, Unmet) and not self.waiting_for(to):  # a plain switch
                del self._lines[line.variant]
                line.variant, self._lines[to] = to, line
                continue
            line.remove([each for each, _ in moved])
            for each, to in moved:
                if isinstance(to, Unmet):
                    lost.append((each, to))
                else:
                    self.line(to).add(each)
        self._lines = {variant: line for variant, line in self._lines.items() if line.length}
        return lost

    def clear(self) -> list[Pending]:
        """Takes everything out."""
        return [each for line in self._lines.values() for each in line.clear()]
