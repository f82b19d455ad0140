"""A daemon's families without the daemon: a real board that is counted on, control-plane values, a fake GPU."""

from types import ModuleType

from sloctl.board import Board, HealthCell, LayerSample, LevelState, ModelTopology, Topology
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.buckets import duration_bounds, exported_bounds
from sloctl.telemetry.families import Family, SummaryValue, Value
from sloctl_exporters.nvml import NvmlSource

MODEL, VARIANTS, CLASSES, TENANTS = "digits", ("fp32", "int8"), ("high", "low"), ("acme", "(other)")
_LAYERS = (("conv1", 0.004), ("gemm", 0.001), ("relu", 0.0001))  # one more than have a name
_DOMAINS = {
    "version": ("0.1.0",),
    "plane": ("data", "control"),
    "kind": ("voluntary", "involuntary"),
    "device": ("cpu",),
    "model": (MODEL,),
    "variant": VARIANTS,
    "priority": CLASSES,
    "level": c.HEALTH_LEVELS,
    "slo": ("latency",),
    "source": ("main",),
    "window": ("5m", "1h"),
    "severity": ("page", "ticket"),
    "alertname": ("SloctlErrorBudgetBurn",),
    "state": ("pending", "firing"),
    "alertmanager": ("http://alertmanager:9093",),
    "policy": ("digits",),
    "rule": ("fast-burn",),
    "action": ("precision.down",),
    "result": ("accepted", "refused"),
    "layer": ("conv1", "gemm"),
    "reason": ("exit", "device_lost"),
}


class LivingBoard:
    """Each `work` is one more round of requests; `families` is what a scrape would see."""

    def __init__(self, fake_nvml: ModuleType) -> None:
        topology = Topology(
            (ModelTopology(MODEL, VARIANTS),), CLASSES, duration_bounds((0.05,)), exported_bounds((0.05,)), 3, TENANTS
        )
        self.board = Board.create(topology)
        self.rounds = 0
        self._gpu = fake_nvml.FakeNvml()
        self._gpu.instances = [fake_nvml.Instance(1, "NVIDIA H200 MIG 1g.18gb", "MIG-1", 2**30, 2**34)]
        self._gpu.fields = {138: (10, 0), 139: (20, 0)}  # bytes over NVLink, which the recorded GPU lacks
        self._nvml = NvmlSource(self._gpu, visible="", expected=1)

    def work(self) -> None:
        """A round: ten requests in batches of two, one of them shed, a probe and a layer profile."""
        self.rounds += 1
        board = self.board
        for outcome, count in (("ok", 9), ("shed", 1)):
            board.counter(c.REQUESTS, MODEL, "high", outcome).inc(count)
            board.counter(c.TENANT_REQUESTS, MODEL, "acme", outcome).inc(count)
        board.counter(c.TENANT_ROWS, MODEL, "acme").inc(9)
        board.histogram(c.TENANT_DURATION, MODEL, "acme").observe(0.03)
        for metric in (c.BATCHED_REQUESTS, c.EXECUTED_REQUESTS, c.CONTEXT_SWITCHES, c.VARIANT_SWITCHES):
            board.counter(metric, MODEL).inc(4)
        self._breaker(c.MODEL_BREAKER, MODEL)
        board.histogram(c.QUEUE_DURATION, MODEL, "high").observe(0.002)
        board.counter(c.PROBE_SECONDS, MODEL).inc(0.001)
        for number, variant in enumerate(VARIANTS):
            self._batch(variant, number)
        self._gpu.energy += 80_000
        self._gpu.events.append((0, 79))

    def _batch(self, variant: str, number: int) -> None:
        board = self.board
        for metric, value in ((c.REQUEST_DURATION, 0.03), (c.ENGINE_DURATION, 0.02), (c.ENQUEUE_DURATION, 1e-4)):
            board.histogram(metric, MODEL, variant).observe(value)
        board.histogram(c.BATCH_SIZE, MODEL, variant).observe(2)
        board.counter(c.INFERENCES, MODEL, variant).inc(2)
        board.counter(c.PADDING, MODEL, variant).inc(1)
        board.counter(c.BATCH_SECONDS, MODEL, variant).inc(0.02)
        board.counter(c.BATCH_MEASURED_SECONDS, MODEL, variant).inc(0.016)
        board.gauge(c.SERVING_VARIANT, MODEL, variant).set(float(number == 0))
        for priority in CLASSES:
            board.gauge(c.CLASS_VARIANT, MODEL, priority, variant).set(float(number == 0))
        board.gauge(c.VARIANT_CAPACITY, MODEL, variant).set(500.0 * (number + 1))
        # Nobody measured the second one: NaN, which must not hide the first.
        board.gauge(c.VARIANT_ACCURACY, MODEL, variant).set(float("nan") if number else 0.996)
        self._breaker(c.VARIANT_BREAKER, MODEL, variant)
        board.layers(MODEL, variant).record([LayerSample(name, seconds) for name, seconds in _LAYERS])
        board.counter(c.PROFILES, MODEL, variant).inc()
        for level in c.HEALTH_LEVELS:
            cell: HealthCell = board.health(MODEL, variant, level)
            cell.write(LevelState.PASSING, "", float(self.rounds))

    def _breaker(self, metrics: c.BreakerMetrics, *labels: str) -> None:
        board = self.board
        board.gauge(metrics.state, *labels, "closed").set(1)
        board.counter(metrics.calls, *labels, "successful").inc(9)
        board.gauge(metrics.buffered, *labels).set(min(10 * self.rounds, 100))
        board.gauge(metrics.failure_ratio, *labels).set(0.0)

    def families(self) -> list[Family]:
        """The board's, every control-plane metric, the GPU's."""
        return [*self.board.snapshot().families(), *map(self._control, c.CONTROL_METRICS), *self._nvml.read()]

    def _control(self, metric: c.Metric) -> Family:
        keys: list[tuple[str, ...]] = [()]
        for label in metric.labels:
            keys = [(*key, value) for key in keys for value in _DOMAINS[label]]
        value: Value = 1.0
        if metric is c.SLO_BUDGET_REMAINING:
            value = 1 - 0.01 * self.rounds
        if metric.kind is c.Kind.COUNTER:
            value = float(self.rounds)
        elif metric.kind is c.Kind.SUMMARY:
            value = SummaryValue(self.rounds, 0.001 * self.rounds)
        return Family(metric, [(key, value) for key in keys])
