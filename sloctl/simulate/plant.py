"""What becomes of a tick's arrivals: a fluid queue in front of one server, whose speed is the serving variant's.

Per tick of `dt` seconds, in this order: an open breaker refuses all; each class is admitted by its share; the queue
takes what would be answered within `deadline` and `target`, at most `maxQueue`; the variant works off
`capacity × dt` rows, first come first served; each request has `rows` of them. The batch is the smallest measured one
that holds a request and carries the load.

The time of an answer is W + S + R + X: the fluid queue's wait W (in a straight line from the tick's beginning to its
end), the own batch S, half of the batch before with the probability that the server is busy, R = ρS/2, and, while no
queue stands, the wait X within a tick by Kingman's law, P(X > t) = ρ·exp(−2(1−ρ)μt), with ρ at most 0.98.

Left out: batches that wait for company (`batchWait`), requests of unequal size, classes in the queue (what cannot be
taken is refused in proportion), the moment of a switch, several contexts, errors but for those of a trace.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_BUSIEST = 0.98  # of Kingman's law, which gives the far future's wait and not a second's
_PIECES = tuple((i + 0.5) / 8 for i in range(8))


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant as measured: `latency` is seconds by batch size, `accuracy` NaN where none was measured."""

    name: str
    accuracy: float
    latency: Mapping[int, float]

    @property
    def capacity(self) -> float:
        """Rows a second at the best batch size."""
        return max(size / max(seconds, 1e-9) for size, seconds in self.latency.items())

    @property
    def largest(self) -> int:
        """The largest measured batch."""
        return max(self.latency)

    def batch(self, rate: float, least: float = 1.0) -> tuple[float, float]:
        """Rows and seconds of the smallest measured batch that carries `rate` rows/s, of the best one where none does.

        Of those that hold a request of `least` rows on average; where none does, so many rows at the measured peak.
        """
        sizes = [size for size in sorted(self.latency) if size >= round(least)]
        if not sizes:
            return least, least / self.capacity
        best = max(sizes, key=lambda size: size / self.latency[size])
        size = next((size for size in sizes if size / self.latency[size] >= rate), best)
        return size, self.latency[size]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the data plane is configured to hold: seconds, and requests that wait; `target` is the objective's."""

    deadline: float
    max_queue: int
    target: float = math.inf

    @property
    def longest(self) -> tuple[float, str]:
        """Seconds that a request may take, and what it is refused for that would take longer."""
        return (self.deadline, "deadline") if self.deadline <= self.target else (self.target, "overloaded")


@dataclass(frozen=True, slots=True)
class Flow:
    """What became of one tick: requests by class and outcome, and the law of the answers' times."""

    seconds: float
    offered: tuple[float, ...]
    outcomes: Mapping[str, tuple[float, ...]]
    queue: float
    waits: tuple[float, float]
    batch: float  # rows
    service: float
    busy: float
    tail: float  # rate of the exponential tail in 1/s; 0: none

    @property
    def answered(self) -> float:
        """Requests answered with a result."""
        return sum(self.outcomes["ok"])

    def later(self, threshold: float, *, queued: bool = False) -> float:
        """Share of the answers that take longer than a threshold in seconds (`queued`: that wait longer)."""
        slack = threshold - self.service * (self.busy / 2 if queued else 1 + self.busy / 2)
        first, last = self.waits
        if first == last == 0.0:
            return self._beyond(slack)
        return sum(self._beyond(slack - first - (last - first) * u) for u in _PIECES) / len(_PIECES)

    def _beyond(self, slack: float) -> float:
        if slack < 0:
            return 1.0
        return self.busy * math.exp(-self.tail * slack) if self.tail else 0.0


class Plant:
    """A model's queue. Counts are fractions of requests, as fluids have them."""

    def __init__(self, variants: Sequence[Variant], limits: Limits) -> None:
        self.variants = {variant.name: variant for variant in variants}
        self._limits = limits
        self.queue = 0.0
        self.slowdown = 1.0  # of the device, and so of all variants
        self.rows = 1.0  # of each request

    def carries(self, variant: str) -> float:
        """Requests a second that a variant does at its measured peak."""
        return self.variants[variant].capacity / self.rows

    def step(
        self, dt: float, offered: Sequence[float], variant: str, admit: Sequence[float], *, open_: bool, errors: float
    ) -> Flow:
        """One tick: `offered` requests by class, admitted shares by class, the share of executed ones that fail."""
        serving = self.variants[variant]
        capacity = self.carries(variant) / self.slowdown
        batch, seconds = serving.batch(sum(offered) / dt * self.rows * self.slowdown, self.rows)
        service = seconds * self.slowdown
        waiting = self.queue
        let_in = [0.0 if open_ else load * share for load, share in zip(offered, admit, strict=True)]
        longest, late = self._limits.longest
        # Behind a queue the wait also has half of the batch in hand, which admission predicts as well.
        room = max(min(self._limits.max_queue, (longest - 1.5 * service) * capacity), 0.0)
        dropped = max(waiting - capacity * dt - room, 0.0)  # a slower variant took over a queue that it cannot answer
        wanted = sum(let_in)
        taken = min(wanted, max(room + capacity * dt - waiting, 0.0))
        done = min(waiting - dropped + taken, capacity * dt)
        self.queue = max(waiting - dropped + taken - done, 0.0)
        share = _shares(let_in, offered)
        bound = late if room < self._limits.max_queue else "overloaded"
        counts = {"ok": done * (1 - errors), "error": done * errors, late: dropped}
        counts[bound] = counts.get(bound, 0.0) + wanted - taken
        outcomes = {outcome: tuple(count * part for part in share) for outcome, count in counts.items()}
        kept_out = tuple(load - entered for load, entered in zip(offered, let_in, strict=True))
        outcomes["breaker_open" if open_ else "shed"] = kept_out
        busy = min(taken / (capacity * dt), 1.0)
        calm = self.queue == 0.0
        return Flow(
            seconds=dt,
            offered=tuple(offered),
            outcomes=outcomes,
            queue=self.queue,
            waits=(waiting / capacity, self.queue / capacity),
            batch=batch,
            service=service,
            busy=min(busy, _BUSIEST),
            tail=2 * (1 - min(busy, _BUSIEST)) * capacity if calm else 0.0,
        )


def _shares(parts: Sequence[float], otherwise: Sequence[float]) -> tuple[float, ...]:
    """The parts of a whole, each over their sum; of what was offered where nothing was let in."""
    for candidate in (parts, otherwise, [1.0] * len(parts)):
        total = sum(candidate)
        if total > 0:
            return tuple(part / total for part in candidate)
    return ()
