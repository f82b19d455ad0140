"""The facts of one model at this moment, as policies name them."""

from collections.abc import Callable

import numpy as np

from sloctl.board import LevelState
from sloctl.config.base import parse_duration
from sloctl.config.daemon import ModelConfig
from sloctl.control.rates import quantile
from sloctl.control.received import ReceivedAlerts
from sloctl.control.sensing import Senses
from sloctl.policy.calendar import time_of_day, weekday
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import thresholds
from sloctl.telemetry import catalogue as c

Value = float | str | bool
_NAN = float("nan")
_NO_LOAD = ("rate_limited", "invalid")


class LiveFacts:
    """Implements the policy engine's `Facts` for one model over the senses and the SLO evaluator.

    A fact that cannot be told (no GPU, no traffic) is NaN; comparisons with it are false.
    """

    def __init__(
        self,
        model: ModelConfig,
        senses: Senses,
        evaluator: Evaluator,
        received: ReceivedAlerts,
        now: float,
        wall: float,
    ) -> None:
        self._model = model.name
        self._max_batch = model.max_batch
        self._senses = senses
        self._recent = senses.recent
        self._evaluator = evaluator
        self._received = received
        self._now = now
        self.wall = wall

    def get(self, name: str, args: tuple[float | str, ...]) -> Value:
        """The value of a fact; KeyError for a name that the vocabulary does not have."""
        return _READERS[name](self, *args)

    @property
    def variant(self) -> str:
        """The serving variant."""
        return self._senses.health.serving[self._model]

    def offered(self, priority: str | None = None) -> float:
        """Requests that arrived a second, of one class or all, whatever became of them.

        But for wrong ones and those over their tenant's rate: no precision would have served them.
        """
        ended = {p: self._ended(p) for p in self._senses.board.topology.priorities}
        total = sum(ended.values())
        # Outcomes are counted when requests end. What arrived and waits would be missed, and most so when load
        # rises; so its growth is added, shared among the classes as the ended ones are.
        waiting = self._recent.rate(c.INFLIGHT, self._model)
        arrived = max(total + waiting, 0.0)
        if priority is None:
            return arrived
        share = ended[priority] / total if total else 1.0 / len(ended)
        return arrived * share

    def _ended(self, priority: str) -> float:
        offered = (outcome for outcome in c.OUTCOMES if outcome not in _NO_LOAD)
        return sum(self._recent.rate(c.REQUESTS, self._model, priority, outcome) for outcome in offered)

    def served(self) -> float:
        """Requests answered with a result, a second."""
        classes = self._senses.board.topology.priorities
        return sum(self._recent.rate(c.REQUESTS, self._model, p, "ok") for p in classes)

    def capacity(self, variant: str | None = None) -> float:
        """Measured peak of a variant in rows a second; NaN until it was measured."""
        value = self._recent.newest.scalar(c.VARIANT_CAPACITY, self._model, variant or self.variant)
        return value or _NAN

    def batch_time(self, variant: str | None = None) -> float:
        """Seconds of a full batch of a variant at its measured peak."""
        return self._max_batch / self.capacity(variant)

    def slowdown(self, variant: str | None = None) -> float:
        """Seen over measured time of a variant's batches of the last seconds; NaN without any."""
        name = variant or self.variant
        measured = self._recent.increase(c.BATCH_MEASURED_SECONDS, self._model, name)
        return self._recent.increase(c.BATCH_SECONDS, self._model, name) / measured if measured > 0 else _NAN

    def rate(self, read: Callable[..., float], *args: str) -> float:
        """A rate for policies; NaN in the first second of the control plane, which has seen too little of it."""
        return read(self, *args) if self._recent.spanned else _NAN

    def offered_rows(self) -> float:
        """Rows that arrived a second. A model that has executed nothing yet counts as asked for one row a request."""
        rows = self.request_rows()
        return self.offered() * (rows if rows > 0 else 1.0)

    def request_rows(self) -> float:
        """Rows of an executed request, as last seen; NaN before any."""
        return self._senses.sizes.of(self._model)

    def accuracy(self, variant: str | None = None) -> float:
        """Accuracy of a variant from its manifest."""
        return self._recent.newest.scalar(c.VARIANT_ACCURACY, self._model, variant or self.variant) or _NAN

    def error_ratio(self) -> float:
        """Failed over executed requests of the last seconds; NaN without any."""
        classes = self._senses.board.topology.priorities
        counts = {
            outcome: sum(self._recent.increase(c.REQUESTS, self._model, p, outcome) for p in classes)
            for outcome in ("ok", "error")
        }
        total = sum(counts.values())
        return counts["error"] / total if total > 0 else _NAN

    def latency(self, q: float) -> float:
        """Quantile of the end-to-end time of answered requests over all variants, in seconds."""
        variants = self._senses.board.topology.model(self._model).variants
        counts = [self._recent.counts(c.REQUEST_DURATION, self._model, v) for v in variants]
        return quantile(self._senses.board.topology.bounds, np.sum(counts, axis=0), q)

    def queue_delay(self, q: float) -> float:
        """Quantile of the time between admission and batch, in seconds."""
        classes = self._senses.board.topology.priorities
        counts = [self._recent.counts(c.QUEUE_DURATION, self._model, priority) for priority in classes]
        return quantile(self._senses.board.topology.bounds, np.sum(counts, axis=0), q)

    def batch_size(self, q: float | None = None) -> float:
        """A quantile of the rows of the serving variant's batches, or their mean."""
        counts = self._recent.counts(c.BATCH_SIZE, self._model, self.variant)
        if q is not None:
            return quantile(c.BATCH_BOUNDS, counts, q)
        batches = counts.sum()
        return self._recent.total(c.BATCH_SIZE, self._model, self.variant) / batches if batches else _NAN

    def gauge(self, metric: c.Metric) -> float:
        """A gauge of the model."""
        return self._recent.newest.scalar(metric, self._model)

    def burn_rate(self, slo: str, window: str) -> float:
        """Burn rate of an SLO over a window; NaN without data, and over one longer than any that is kept."""
        return self._over(slo, window, lambda seconds: self._evaluator.burn_rate(slo, seconds))

    def slo_error_ratio(self, slo: str, window: str) -> float:
        """Error ratio of an SLO over a window, likewise."""
        return self._over(slo, window, lambda seconds: self._evaluator.error_ratio(slo, seconds))

    def events(self, slo: str, window: str) -> float:
        """Valid events of an SLO in a window, likewise."""
        return self._over(slo, window, lambda seconds: self._evaluator.events(slo, seconds)[1])

    def _over(self, slo: str, window: str, read: Callable[[float], float]) -> float:
        seconds = parse_duration(window)
        known = slo not in self._evaluator.no_data and seconds <= self._evaluator.longest
        return float(read(seconds)) if known else _NAN

    def time_to_exhaustion(self, slo: str, window: str) -> float:
        """Seconds until the budget is gone, should it burn on as in a window."""
        return self._over(slo, window, lambda seconds: self._evaluator.time_to_exhaustion(slo, seconds))

    def budget_remaining(self, slo: str) -> float:
        """Share of the period's budget that is left; NaN without data."""
        return _NAN if slo in self._evaluator.no_data else self._evaluator.budget_remaining(slo)

    def objective(self, slo: str) -> float:
        """Threshold of an SLO over request times in seconds; NaN for another kind of SLO."""
        return next(iter(thresholds([self._evaluator.objective(slo)])), _NAN)

    def error_budget(self, slo: str) -> float:
        """Share of events that may be bad."""
        return self._evaluator.objective(slo).budget

    def device_memory_ratio(self) -> float:
        """Used over total memory of the device (the host's on a CPU)."""
        used, total = self._senses.memory
        return used / total if total else _NAN

    def process_memory(self) -> float:
        """Resident bytes of the data plane."""
        reading = self._senses.processes.get("data")
        return float(reading.memory) if reading else _NAN

    def gpu(self, field: str) -> float:
        """A GPU reading, or NaN where there is none."""
        value = getattr(self._senses.gpu, field, None)
        return _NAN if value is None else float(value)

    def throttled(self) -> bool:
        """Whether the GPU holds its clocks down for heat or power."""
        return bool(getattr(self._senses.gpu, "throttled", False))

    def clocks_event(self, reason: str) -> bool:
        """Whether this reason holds the GPU's clocks."""
        return self._senses.gpu is not None and reason in self._senses.gpu.clocks_event_reasons

    def xid_errors(self, window: str) -> float:
        """XID errors of the GPU in a window; NaN without a GPU."""
        if self._senses.gpu is None:
            return _NAN
        start = self._now - parse_duration(window)
        return float(sum(at > start for at in self._senses.gpu.xid_times))

    def height(self, variant: str | None = None) -> float:
        """How many health levels of a variant stand, 0 to 5."""
        return float(self._senses.health.variants[self._model, variant or self.variant].height)

    def failing(self, variant: str | None = None) -> bool:
        """Whether a health level of a variant fails."""
        levels = self._senses.health.variants[self._model, variant or self.variant].levels
        return any(level.state is LevelState.FAILING for level in levels)

    def breaker(self, variant: str | None = None) -> str:
        """The state of the breaker of a variant, or of the model."""
        breaker, labels = (c.MODEL_BREAKER, ()) if variant is None else (c.VARIANT_BREAKER, (variant,))
        read = self._recent.newest.scalar
        states = (s for s in c.BREAKER_STATES if read(breaker.state, self._model, *labels, s) == 1.0)
        return next(states, "closed")

    def variant_index(self) -> float:
        """Place of the serving variant, 0 the most accurate."""
        return float(self._senses.board.topology.model(self._model).variants.index(self.variant))

    def data_plane_up(self) -> bool:
        """Whether the data plane beats."""
        return self._senses.health.data_up

    def layer_drift(self, layer: str | None = None) -> float:
        """Time of a layer of the serving variant over its own baseline; without a name, of the worst that drifts."""
        drift = self._senses.layers.drift[self._model, self.variant]
        return drift.worst if layer is None else drift.of(layer)

    def alert(self, name: str, *labels: str) -> float:
        """Alerts of a name that fire, with these values of labels (name and value by turns)."""
        return float(self._received.count(name, dict(zip(labels[::2], labels[1::2], strict=True))))

    def time_in_variant(self) -> float:
        """Seconds since the serving variant took over."""
        return self._senses.seconds_in_variant(self._model, self._now)


_READERS: dict[str, Callable[..., Value]] = {
    "offered_rate": lambda facts: facts.rate(LiveFacts.offered),
    "offered": lambda facts, priority: facts.rate(LiveFacts.offered, priority),
    "offered_rows": lambda facts: facts.rate(LiveFacts.offered_rows),
    "served_rate": lambda facts: facts.rate(LiveFacts.served),
    "capacity": LiveFacts.capacity,
    "batch_time": LiveFacts.batch_time,
    "slowdown": LiveFacts.slowdown,
    "request_rows": LiveFacts.request_rows,
    "accuracy": LiveFacts.accuracy,
    "burn_rate": LiveFacts.burn_rate,
    "error_ratio": LiveFacts.error_ratio,
    "slo_error_ratio": LiveFacts.slo_error_ratio,
    "events": LiveFacts.events,
    "budget_remaining": LiveFacts.budget_remaining,
    "objective": LiveFacts.objective,
    "error_budget": LiveFacts.error_budget,
    "latency": LiveFacts.latency,
    "queue_delay": LiveFacts.queue_delay,
    "queue_length": lambda facts: facts.gauge(c.QUEUE_LENGTH),
    "inflight": lambda facts: facts.gauge(c.INFLIGHT),
    "batch_size": LiveFacts.batch_size,
    "device_memory_ratio": LiveFacts.device_memory_ratio,
    "memory_headroom_bytes": lambda facts: facts.gauge(c.MEMORY_HEADROOM),
    "process_memory_bytes": LiveFacts.process_memory,
    "gpu_temperature": lambda facts: facts.gpu("temperature"),
    "gpu_utilization": lambda facts: facts.gpu("utilization"),
    "gpu_power_watts": lambda facts: facts.gpu("power"),
    "gpu_throttled": LiveFacts.throttled,
    "gpu_clocks_event": LiveFacts.clocks_event,
    "gpu_xid_errors": LiveFacts.xid_errors,
    "health": LiveFacts.height,
    "health_ok": lambda facts, variant=None: facts.height(variant) == len(c.HEALTH_LEVELS),
    "failing": LiveFacts.failing,
    "breaker": LiveFacts.breaker,
    "variant": lambda facts: facts.variant,
    "variant_index": LiveFacts.variant_index,
    "data_plane_up": LiveFacts.data_plane_up,
    "layer_drift": LiveFacts.layer_drift,
    "time_in_variant": LiveFacts.time_in_variant,
    "alert": LiveFacts.alert,
    "time_to_exhaustion": LiveFacts.time_to_exhaustion,
    "time_of_day": lambda facts, zone: time_of_day(facts.wall, zone),
    "weekday": lambda facts, zone: weekday(facts.wall, zone),
}
