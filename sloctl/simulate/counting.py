"""What each SLO counts in a tick of the plant: good and bad requests, as whole numbers that never fall."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sloctl.simulate.plant import Flow
from sloctl.slo.objective import Objective, Ratio, Selector, Threshold
from sloctl.telemetry.catalogue import REQUEST_DURATION, REQUESTS

Counts = NDArray[np.int64]
_Count = Callable[[Flow, str], tuple[float, float]]
"""Bad and valid requests of a tick in which a variant served."""


class Counter:
    """Counts all objectives of a model. What is over other metrics than request times and outcomes is `left_out`."""

    def __init__(self, objectives: Sequence[Objective], model: str, classes: Sequence[str]) -> None:
        found = [_compile(objective, model, tuple(classes)) for objective in objectives]
        self.left_out = tuple(o.name for o, count in zip(objectives, found, strict=True) if count is None)
        self._counts = found
        self._exact = np.zeros((2, len(found)))  # bad and valid, in fractions
        self._whole = np.zeros((2, len(found)), np.int64)

    def add(self, flow: Flow, variant: str) -> tuple[Counts, Counts]:
        """Good and valid requests since the beginning, `[SLOs]`."""
        for index, count in enumerate(self._counts):
            if count is not None:
                self._exact[:, index] += count(flow, variant)
        # A fraction is carried over; never more new bad requests than new ones.
        step = np.floor(self._exact + 1e-9).astype(np.int64) - self._whole
        self._whole[0] += np.minimum(step[0], step[1])
        self._whole[1] += step[1]
        return self._whole[1] - self._whole[0], self._whole[1].copy()


def _compile(objective: Objective, model: str, classes: tuple[str, ...]) -> _Count | None:
    indicator = objective.indicator
    if isinstance(indicator, Threshold):
        return _threshold(indicator, model) if indicator.selector.metric == REQUEST_DURATION.name else None
    return _ratio(indicator, model, classes) if isinstance(indicator, Ratio) else None


def latency_objective(objectives: Sequence[Objective], model: str) -> float | None:
    """The threshold in seconds of the first SLO over the request times of all variants of a model."""
    for objective in objectives:
        indicator = objective.indicator
        if isinstance(indicator, Threshold) and indicator.selector.metric == REQUEST_DURATION.name:
            labels = indicator.selector.labels
            if model in labels.get("model", (model,)) and "variant" not in labels:
                return indicator.value
    return None


def _threshold(indicator: Threshold, model: str) -> _Count:
    labels = indicator.selector.labels
    below = indicator.op in ("lte", "lt")

    def count(flow: Flow, variant: str) -> tuple[float, float]:
        if model not in labels.get("model", (model,)) or variant not in labels.get("variant", (variant,)):
            return 0.0, 0.0
        late = flow.later(indicator.value)
        return flow.answered * (late if below else 1 - late), flow.answered

    return count


def _ratio(ratio: Ratio, model: str, classes: tuple[str, ...]) -> _Count | None:
    parts = [part for part in (ratio.total, ratio.good, ratio.bad) if part is not None]
    if any(part.metric != REQUESTS.name for part in parts):
        return None

    def total(selector: Selector, flow: Flow) -> float:
        labels = selector.labels
        if model not in labels.get("model", (model,)):
            return 0.0
        wanted = [name in labels.get("priority", (name,)) for name in classes]
        outcomes = (counts for name, counts in flow.outcomes.items() if name in labels.get("outcome", (name,)))
        return sum(value for counts in outcomes for value, keep in zip(counts, wanted, strict=True) if keep)

    def count(flow: Flow, _: str) -> tuple[float, float]:
        valid = total(ratio.total, flow)
        return (total(ratio.bad, flow) if ratio.bad else valid - total(ratio.good or ratio.total, flow)), valid

    return count
