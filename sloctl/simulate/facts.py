"""The facts of a simulated model, read from the plant's last two seconds, the SLO evaluator and the trace's row."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from sloctl.config.base import parse_duration
from sloctl.policy.calendar import time_of_day, weekday
from sloctl.policy.facts import NAN, Args, Value
from sloctl.policy.forecast import SPAN
from sloctl.simulate.plant import Flow, Plant
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import thresholds
from sloctl.telemetry.catalogue import HEALTH_LEVELS

_STEPS = 40  # of a bisection: to a part in 10¹²


class SimulatedFacts:
    """Implements the policies' `Facts`. What the plant does not model comes from the trace; without one it is NaN."""

    def __init__(self, plant: Plant, evaluator: Evaluator, classes: Sequence[str], max_batch: int) -> None:
        self._plant = plant
        self._evaluator = evaluator
        self._classes = tuple(classes)
        self._max_batch = max_batch
        self._flows: deque[Flow] = deque()
        self._seconds = 0.0
        self.variant, self.breaker = "", "closed"
        self.wall = self.time_in_variant = 0.0
        self.row: Mapping[tuple[str, Args], Value] = {}

    def push(self, flow: Flow) -> None:
        """Takes a tick and forgets those beyond the span of the daemon's own facts."""
        self._flows.append(flow)
        self._seconds += flow.seconds
        while len(self._flows) > 1 and self._seconds - self._flows[0].seconds >= SPAN:
            self._seconds -= self._flows.popleft().seconds

    def get(self, name: str, args: Args) -> Value:
        """The value of a fact."""
        reader = _READERS.get(name)
        recorded = name in _RECORDED or (name == "breaker" and args)  # the plant has the model's breaker alone
        # A trace has these by variant; what serves in a simulation need not be what served then.
        key = (name, args or (self.variant,)) if name in _OF_VARIANTS else (name, args)
        if reader is None or (key in self.row and recorded):
            return self.row.get(key, NAN)
        return reader(self, *args)

    def offered(self, priority: str) -> float:
        """Requests offered a second by a class."""
        index = self._classes.index(priority)
        return self._a_second(sum(flow.offered[index] for flow in self._flows))

    def served(self) -> float:
        """Requests answered with a result, a second."""
        return self._a_second(self._count("ok"))

    def _a_second(self, count: float) -> float:
        """A rate; NaN until half of the span is seen, as of the daemon's own facts: of less time it is chance."""
        return count / self._seconds if self._seconds >= SPAN / 2 else NAN

    def _count(self, outcome: str) -> float:
        return sum(sum(flow.outcomes.get(outcome, ())) for flow in self._flows)

    def error_ratio(self) -> float:
        """Failed over executed requests."""
        failed, good = self._count("error"), self._count("ok")
        return failed / (failed + good) if failed + good else NAN

    def quantile(self, q: float, *, queued: bool) -> float:
        """Quantile of the answers' times, or of their waits, in seconds; NaN without answers."""
        answers = [(flow, flow.answered) for flow in self._flows if flow.answered]
        total = sum(count for _, count in answers)
        if not total:
            return NAN
        low, high = 0.0, max(sum(flow.waits) + 2 * flow.service + 20 / (flow.tail or 20) for flow, _ in answers)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            late = sum(count * flow.later(middle, queued=queued) for flow, count in answers)
            low, high = (middle, high) if late > (1 - q) * total else (low, middle)
        return high

    def capacity(self, variant: str | None = None) -> float:
        """Measured peak of a variant in rows a second."""
        return self._plant.variants[variant or self.variant].capacity

    def slowdown(self, variant: str | None = None) -> float:
        """How much slower than measured the serving variant ran; NaN of another, and without answers."""
        seen = (variant or self.variant) == self.variant and self._flows[-1].answered > 0
        return self._plant.slowdown if seen else NAN

    def accuracy(self, variant: str | None = None) -> float:
        """Measured accuracy of a variant."""
        return self._plant.variants[variant or self.variant].accuracy

    def batch_size(self, _: float | None = None) -> float:
        """Rows of a batch at the present rate, all alike."""
        return float(self._flows[-1].batch)

    def over(self, read: Callable[[str, float], float], slo: str, window: str) -> float:
        """Something of an SLO over a window, NaN beyond the longest."""
        seconds = parse_duration(window)
        return float(read(slo, seconds)) if seconds <= self._evaluator.longest else NAN

    @property
    def evaluator(self) -> Evaluator:
        """The SLOs."""
        return self._evaluator

    @property
    def classes(self) -> tuple[str, ...]:
        """The priority classes, highest first."""
        return self._classes

    @property
    def queue(self) -> float:
        """Requests that wait."""
        return self._plant.queue

    @property
    def request_rows(self) -> float:
        """Rows of a request."""
        return self._plant.rows

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants, most accurate first."""
        return tuple(self._plant.variants)

    @property
    def max_batch(self) -> int:
        """The configured largest batch."""
        return self._max_batch


_F = SimulatedFacts
_OF_VARIANTS = {"health", "health_ok", "failing"}
_RECORDED = _OF_VARIANTS | {"data_plane_up"}  # of which a trace knows better
_READERS: Mapping[str, Callable[..., Value]] = {
    "offered_rate": lambda f: sum(f.offered(name) for name in f.classes),
    "offered_rows": lambda f: f.request_rows * sum(f.offered(name) for name in f.classes),
    "offered": _F.offered,
    "served_rate": _F.served,
    "capacity": _F.capacity,
    "batch_time": lambda f, variant=None: f.max_batch / f.capacity(variant),
    "slowdown": _F.slowdown,
    "request_rows": lambda f: f.request_rows,
    "accuracy": _F.accuracy,
    "burn_rate": lambda f, slo, window: f.over(f.evaluator.burn_rate, slo, window),
    "slo_error_ratio": lambda f, slo, window: f.over(f.evaluator.error_ratio, slo, window),
    "events": lambda f, slo, window: f.over(lambda n, s: f.evaluator.events(n, s)[1], slo, window),
    "time_to_exhaustion": lambda f, slo, window: f.over(f.evaluator.time_to_exhaustion, slo, window),
    "budget_remaining": lambda f, slo: f.evaluator.budget_remaining(slo),
    "objective": lambda f, slo: next(iter(thresholds([f.evaluator.objective(slo)])), NAN),
    "error_budget": lambda f, slo: f.evaluator.objective(slo).budget,
    "error_ratio": _F.error_ratio,
    "latency": lambda f, q: f.quantile(q, queued=False),
    "queue_delay": lambda f, q: f.quantile(q, queued=True),
    "queue_length": lambda f: f.queue,
    "inflight": lambda f: f.queue + f.batch_size() / f.request_rows,
    "batch_size": _F.batch_size,
    "health": lambda _, __=None: float(len(HEALTH_LEVELS)),
    "health_ok": lambda _, __=None: True,
    "failing": lambda _, __=None: False,
    "breaker": lambda f, variant=None: f.breaker if variant is None else "closed",
    "variant": lambda f: f.variant,
    "variant_index": lambda f: float(f.variants.index(f.variant)),
    "data_plane_up": lambda _: True,
    "time_of_day": lambda f, zone: time_of_day(f.wall, zone),
    "weekday": lambda f, zone: weekday(f.wall, zone),
    "time_in_variant": lambda f: f.time_in_variant,
}
