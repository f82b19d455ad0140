"""The same counts under Triton's names, for dashboards, alerts and autoscalers that people already have.

Made of the daemon's own families when they are read; nothing is counted twice. Names, types and help follow
Triton's `src/metrics.cc`, labels are `model` and `version`. How a request ended is in `reason` in our own words,
in `triton_reason` in Triton's (docs/adr/0017-tritons-names.md says why).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sloctl.telemetry import catalogue as c
from sloctl.telemetry.catalogue import Kind, Metric
from sloctl.telemetry.families import Family, HistogramValue, Value

_VERSION = "1"  # a model's variants are one version to clients
_LABELS = ("model", "version")
_TRITONS = {"invalid": "OTHER", "error": "BACKEND", "cancelled": "CANCELED"}  # all else was refused: REJECTED


def _number(value: Value) -> float:
    return value if isinstance(value, float | int) else 0.0


def _count(value: Value) -> float:
    return value.cumulative[-1] if isinstance(value, HistogramValue) else 0.0


def _microseconds(value: Value) -> float:
    return round(value.total * 1e6) if isinstance(value, HistogramValue) else 0.0


@dataclass(frozen=True, slots=True)
class Alias:
    """A metric of Triton's: the sum over each model's series of `source` (of one outcome only) of what `read` gives."""

    metric: Metric
    source: Metric
    read: Callable[[Value], float] = _number
    outcome: str | None = None


def _alias(
    name: str,
    text: str,
    source: Metric,
    read: Callable[[Value], float] = _number,
    *,
    kind: Kind = Kind.COUNTER,
    outcome: str | None = None,
) -> Alias:
    unit = "us" if read is _microseconds else "1"
    return Alias(Metric(f"nv_inference_{name}", kind, unit, _LABELS, text, c.Plane.CONTROL), source, read, outcome)


ALIASES = (
    _alias("request_success", "Number of successful inference requests, all batch sizes", c.REQUESTS, outcome="ok"),
    _alias("count", "Number of inferences performed (does not include cached requests)", c.INFERENCES),
    _alias(
        "exec_count",
        "Number of model executions performed (does not include cached requests)",
        c.BATCH_SIZE,
        _count,
    ),
    _alias(
        "request_duration_us",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        c.REQUEST_DURATION,
        _microseconds,
    ),
    _alias(
        "queue_duration_us",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        c.QUEUE_DURATION,
        _microseconds,
    ),
    _alias(
        "compute_input_duration_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        c.ENQUEUE_DURATION,
        _microseconds,
    ),
    _alias(
        "compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        c.ENGINE_DURATION,
        _microseconds,
    ),
    _alias(
        "pending_request_count",
        "Instantaneous number of pending requests awaiting execution per-model.",
        c.QUEUE_LENGTH,
        kind=Kind.GAUGE,
    ),
)
FAILURE = Metric(
    "nv_inference_request_failure",
    Kind.COUNTER,
    "1",
    (*_LABELS, "reason", "triton_reason"),
    "Number of failed inference requests, all batch sizes",
    c.Plane.CONTROL,
)
TRITON_METRICS = (*(alias.metric for alias in ALIASES), FAILURE)


def triton_families(families: Sequence[Family]) -> list[Family]:
    """Triton's families, made of the daemon's; of what is not among those there are no samples."""
    by_name = {family.metric.name: family for family in families}
    found = [_summed(alias, by_name.get(alias.source.name)) for alias in ALIASES]
    return [*found, _failures(by_name.get(c.REQUESTS.name))]


def _summed(alias: Alias, source: Family | None) -> Family:
    sums: dict[str, float] = {}
    for (model, *rest), value in source.samples if source else ():
        if alias.outcome is None or rest[-1] == alias.outcome:
            sums[model] = sums.get(model, 0.0) + alias.read(value)
    return Family(alias.metric, [((model, _VERSION), value) for model, value in sums.items()])


def _failures(requests: Family | None) -> Family:
    sums: dict[tuple[str, str], float] = {}
    for (model, _, outcome), value in requests.samples if requests else ():
        if outcome != "ok":
            sums[model, outcome] = sums.get((model, outcome), 0.0) + _number(value)
    return Family(
        FAILURE,
        [
            ((model, _VERSION, outcome, _TRITONS.get(outcome, "REJECTED")), value)
            for (model, outcome), value in sums.items()
        ],
    )
