"""The data plane's cells on the board, looked up once. Only the event loop writes to them."""

from math import nan
from typing import Any

from sloctl.board import Board, Counter, ModelTopology, Snapshot
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.catalogue import OUTCOMES


class VariantCells:
    """What is counted for one variant."""

    __slots__ = (
        "accuracy",
        "batch",
        "batch_measured",
        "batch_seconds",
        "capacity",
        "engine",
        "enqueue",
        "errors",
        "inferences",
        "layers",
        "layers_other",
        "memory",
        "nonfinite",
        "padding",
        "profiles",
        "request",
        "serving",
    )

    def __init__(self, board: Board, model: str, variant: str) -> None:
        self.request = board.histogram(c.REQUEST_DURATION, model, variant)
        self.engine = board.histogram(c.ENGINE_DURATION, model, variant)
        self.enqueue = board.histogram(c.ENQUEUE_DURATION, model, variant)
        self.batch = board.histogram(c.BATCH_SIZE, model, variant)
        self.batch_seconds = board.counter(c.BATCH_SECONDS, model, variant)
        self.batch_measured = board.counter(c.BATCH_MEASURED_SECONDS, model, variant)
        self.padding = board.counter(c.PADDING, model, variant)
        self.inferences = board.counter(c.INFERENCES, model, variant)
        self.errors = board.counter(c.ENGINE_ERRORS, model, variant)
        self.nonfinite = board.counter(c.NONFINITE, model, variant)
        self.profiles = board.counter(c.PROFILES, model, variant)
        self.serving = board.gauge(c.SERVING_VARIANT, model, variant)
        self.capacity = board.gauge(c.VARIANT_CAPACITY, model, variant)
        self.accuracy = board.gauge(c.VARIANT_ACCURACY, model, variant)
        self.memory = board.gauge(c.VARIANT_MEMORY, model, variant)
        self.layers = board.layers(model, variant)
        self.layers_other = board.gauge(c.LAYERS_OTHER, model, variant)
        self.accuracy.set(nan)  # until a manifest says


class TenantCells:
    """What is counted for one tenant of a model; `outcomes[outcome]` counts requests."""

    __slots__ = ("outcomes", "request", "rows")

    def __init__(self, board: Board, model: str, tenant: str) -> None:
        self.outcomes: dict[str, Counter] = {
            outcome: board.counter(c.TENANT_REQUESTS, model, tenant, outcome) for outcome in OUTCOMES
        }
        self.rows = board.counter(c.TENANT_ROWS, model, tenant)
        self.request = board.histogram(c.TENANT_DURATION, model, tenant)


class ModelCells:
    """What is counted for one model; `outcomes[priority][outcome]` counts requests.

    `tiers[priority][variant]` is 1 for the variant that serves a class.
    """

    __slots__ = (
        "batched",
        "context_switches",
        "executed",
        "headroom",
        "inflight",
        "outcomes",
        "probe_seconds",
        "queue",
        "queue_length",
        "tenants",
        "tiers",
        "variant_switches",
    )

    def __init__(self, board: Board, model: str) -> None:
        self.outcomes: list[dict[str, Counter]] = [
            {outcome: board.counter(c.REQUESTS, model, priority, outcome) for outcome in OUTCOMES}
            for priority in board.topology.priorities
        ]
        self.tiers = [
            {each: board.gauge(c.CLASS_VARIANT, model, priority, each) for each in board.topology.model(model).variants}
            for priority in board.topology.priorities
        ]
        self.tenants = {tenant: TenantCells(board, model, tenant) for tenant in board.topology.tenants}
        self.queue = [board.histogram(c.QUEUE_DURATION, model, priority) for priority in board.topology.priorities]
        self.batched = board.counter(c.BATCHED_REQUESTS, model)
        self.executed = board.counter(c.EXECUTED_REQUESTS, model)
        self.variant_switches = board.counter(c.VARIANT_SWITCHES, model)
        self.context_switches = board.counter(c.CONTEXT_SWITCHES, model)
        self.queue_length = board.gauge(c.QUEUE_LENGTH, model)
        self.inflight = board.gauge(c.INFLIGHT, model)
        self.headroom = board.gauge(c.MEMORY_HEADROOM, model)
        self.headroom.set(nan)  # until something was loaded
        self.probe_seconds = board.counter(c.PROBE_SECONDS, model)


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(seconds * 1e9)}


def model_statistics(
    snapshot: Snapshot, model: ModelTopology, priorities: tuple[str, ...], last_answer: float
) -> dict[str, Any]:
    """The V2 statistics extension's entry of a model, out of the same cells as the metrics.

    `last_answer` is Unix time in seconds. The time to encode outputs is in `success`, not told apart.
    """
    name = model.name

    def over(metric: c.Metric) -> tuple[int, float]:
        count = sum(int(snapshot.counts(metric, name, variant).sum()) for variant in model.variants)
        return count, sum(snapshot.total(metric, name, variant) for variant in model.variants)

    def ended(outcome: str) -> int:
        return int(sum(snapshot.scalar(c.REQUESTS, name, priority, outcome) for priority in priorities))

    refused = sum(ended(outcome) for outcome in OUTCOMES if outcome != "ok")
    queued = sum(int(snapshot.counts(c.QUEUE_DURATION, name, priority).sum()) for priority in priorities)
    waited = sum(snapshot.total(c.QUEUE_DURATION, name, priority) for priority in priorities)
    return {
        "name": name,
        "version": "1",
        "last_inference": round(last_answer * 1000),
        "inference_count": int(sum(snapshot.scalar(c.INFERENCES, name, variant) for variant in model.variants)),
        "execution_count": over(c.BATCH_SIZE)[0],
        "inference_stats": {
            "success": _duration(*over(c.REQUEST_DURATION)),
            "fail": _duration(refused, 0.0),
            "queue": _duration(queued, waited),
            "compute_input": _duration(*over(c.ENQUEUE_DURATION)),
            "compute_infer": _duration(*over(c.ENGINE_DURATION)),
            "compute_output": _duration(0, 0.0),
        },
        "batch_stats": [],
    }
