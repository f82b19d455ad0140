"""Indicators by name, as the short form writes them: `engine_time < 50ms`, `throughput >= 70%`, `success`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from sloctl.config.base import parse_duration
from sloctl.slo.objective import Indicator, Op, Ratio, Selector, Threshold
from sloctl.telemetry import catalogue as c

Labels = Mapping[str, tuple[str, ...]]
_OPS: dict[str, Op] = {"<=": "lte", "<": "lt", ">=": "gte", ">": "gt"}
_INVERSE: dict[str, Op] = {"<=": "gt", "<": "gte", ">=": "lt", ">": "lte"}
_FORM = re.compile(r"([a-z_]+)(?: *(<=|<|>=|>) *([0-9.]+(?:ms|s|m|%)?))?")


@dataclass(frozen=True, slots=True)
class Compared:
    """An indicator that takes a threshold: each observation of a histogram, or each second of a gauge."""

    metric: c.Metric


@dataclass(frozen=True, slots=True)
class Counted:
    """An indicator that counts by itself: `good` over `total`, with these values of a label."""

    total: c.Metric
    good: c.Metric
    label: str = ""
    good_values: tuple[str, ...] = ()
    total_values: tuple[str, ...] = ()


# What a client may expect an answer to: not what it did wrong, sent too much of, or did not wait for.
_OWED = tuple(outcome for outcome in c.OUTCOMES if outcome not in ("invalid", "rate_limited", "cancelled"))
NAMES: Mapping[str, Compared | Counted] = {
    "request_time": Compared(c.REQUEST_DURATION),
    "queue_time": Compared(c.QUEUE_DURATION),
    "engine_time": Compared(c.ENGINE_DURATION),
    "enqueue_time": Compared(c.ENQUEUE_DURATION),
    "batch_size": Compared(c.BATCH_SIZE),
    "queue_length": Compared(c.QUEUE_LENGTH),
    "throughput": Compared(c.THROUGHPUT_RATIO),
    "device_memory_ratio": Compared(c.DEVICE_MEMORY_RATIO),
    "layer_time": Compared(c.LAYER_LAST),
    "layer_drift": Compared(c.LAYER_DRIFT),
    "health": Compared(c.HEALTH_LEVEL),
    "ready": Compared(c.READY),
    "success": Counted(c.REQUESTS, c.REQUESTS, "outcome", ("ok",), ("ok", "error")),
    "tenant_time": Compared(c.TENANT_DURATION),
    "tenant_success": Counted(c.TENANT_REQUESTS, c.TENANT_REQUESTS, "outcome", ("ok",), ("ok", "error")),
    "served": Counted(c.REQUESTS, c.REQUESTS, "outcome", ("ok",), _OWED),
    "batched": Counted(c.EXECUTED_REQUESTS, c.BATCHED_REQUESTS),
}


def metric_of(text: str) -> c.Metric:
    """The metric that an expression reads. Raises ValueError with what is wrong with the expression."""
    name, _, _ = _parsed(text)
    known = NAMES[name]
    return known.metric if isinstance(known, Compared) else known.total


def indicator(text: str, labels: Labels, *, bad: bool = False) -> Indicator:
    """The indicator of an expression, good (or, with `bad`, bad) while it holds. Raises ValueError."""
    name, op, value = _parsed(text)
    known = NAMES[name]
    if isinstance(known, Compared):
        op, value = _countable(known.metric, (_INVERSE if bad else _OPS)[op], value)
        return Threshold(Selector(known.metric.name, labels), op, value)
    if bad:
        raise ValueError(f"{name} counts events, and has no time of its own; expected a threshold")
    total, good = (
        Selector(metric.name, {**labels, known.label: values} if values else labels)
        for metric, values in ((known.total, known.total_values), (known.good, known.good_values))
    )
    return Ratio(total, good=good)


def _countable(metric: c.Metric, op: Op, value: float) -> tuple[Op, float]:
    """The same of whole numbers as buckets can tell it, which count `<= bound`. Raises ValueError."""
    if metric is not c.BATCH_SIZE:
        return op, value
    if op in ("lt", "gte"):
        op, value = "lte" if op == "lt" else "gt", value - 1
    if value not in c.BATCH_BOUNDS:
        known = ", ".join(f"{bound:g}" for bound in c.BATCH_BOUNDS)
        raise ValueError(f"batches are not counted at {value:g} rows; expected batch_size > or <= one of {known}")
    return op, value


def _parsed(text: str) -> tuple[str, str, float]:
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no indicator; expected one such as engine_time < 50ms, or success")
    name, op, value = match.groups()
    if name not in NAMES:
        raise ValueError(f"there is no indicator {name!r}; expected one of {', '.join(NAMES)}")
    known = NAMES[name]
    if isinstance(known, Counted):
        if op is not None:
            raise ValueError(f"{name} counts by itself; expected {name} without a threshold")
        return name, "", 0.0
    if op is None:
        raise ValueError(f"{name} without a threshold; expected {name} < …")
    threshold = _value(value, known.metric)
    _countable(known.metric, _OPS[op], threshold)
    return name, op, threshold


def _value(text: str, metric: c.Metric) -> float:
    timed = metric.unit == "seconds"
    if timed != text.endswith(("s", "m")):
        wanted = "a duration such as 50ms" if timed else "a number, or a share such as 70%"
        raise ValueError(f"{text} is no threshold of {metric.name}; expected {wanted}")
    if timed:
        return parse_duration(text)
    try:
        number = Decimal(text.removesuffix("%"))
    except ArithmeticError:
        raise ValueError(f"{text} is no number") from None
    return float(number / 100 if text.endswith("%") else number)
