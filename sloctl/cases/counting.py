"""What an SLO counts in the series of a case, as the daemon would: good and valid events that never fall."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isnan, nan

from prometheus_client.utils import floatToGoString

from sloctl.cases.series import selects
from sloctl.slo.objective import COUNT_PARTS, SHARE_PARTS, Objective, Query, Ratio, Raw, Selector, Threshold
from sloctl.telemetry.catalogue import Kind, find

_MOST = 2**62  # of what an evaluator takes
Series = tuple[str, Mapping[str, str]]
Table = Mapping[str, tuple[Series, Sequence[float]]]


class NotCountedError(ValueError):
    """An SLO that only a Prometheus can count; the message says why."""


class BeyondCountingError(ValueError):
    """Series hold what no counts can be; the message says of which SLO."""


class Counter:
    """Counts one objective, sample by sample. Raises NotCountedError for one over queries."""

    def __init__(self, objective: Objective, table: Table, interval: float) -> None:
        indicator = objective.indicator
        if isinstance(indicator, Query):
            raise NotCountedError(f"{objective.name} is over PromQL, which only promtool evaluates")
        self._name, self._table, self._interval = objective.name, table, interval
        self._good = self._total = 0
        self._last: dict[str, float] = {}
        self._grown: dict[str, float] = {}
        self._step = self._of(indicator)

    def step(self, index: int) -> tuple[int, int]:
        """Good and valid events up to a sample. Raises BeyondCountingError."""
        self._grow(index)
        try:
            good, total = self._step(index)
        except (OverflowError, ValueError):  # of what is infinite
            good = total = _MOST + 1
        self._good, self._total = self._good + good, self._total + total
        if max(abs(self._good), abs(self._total)) > _MOST:
            raise BeyondCountingError(f"{self._name} counts more than 64 bits hold; expected smaller numbers in series")
        return self._good, self._total

    def _of(self, indicator: Threshold | Ratio | Raw) -> Callable[[int], tuple[int, int]]:
        if isinstance(indicator, Raw):
            return lambda index: self._share(indicator, index)
        if isinstance(indicator, Ratio):
            return lambda index: self._ratio(indicator, index)
        metric = find(indicator.selector.metric)
        if metric is not None and metric.kind is Kind.GAUGE:
            return lambda index: self._kept(indicator, index)
        return lambda _: self._observed(indicator)

    def _ratio(self, ratio: Ratio, index: int) -> tuple[int, int]:
        part = ratio.good or ratio.bad or ratio.total
        if ratio.sampled:
            valid, some = (self._seconds(index) * sum(self._held(s, index)) * COUNT_PARTS for s in (ratio.total, part))
        else:
            valid, some = (self._increase(s.metric, s) for s in (ratio.total, part))
        return round(some if ratio.good is not None else valid - some), round(valid)

    def _observed(self, indicator: Threshold) -> tuple[int, int]:
        selector = indicator.selector
        le = str(floatToGoString(indicator.value))  # type: ignore[no-untyped-call]
        total = self._increase(f"{selector.metric}_count", selector)
        under = self._increase(f"{selector.metric}_bucket", selector, le=le)
        return round(under if indicator.op in ("lte", "lt") else total - under), round(total)

    def _kept(self, indicator: Threshold, index: int) -> tuple[int, int]:
        values, seconds = list(self._held(indicator.selector, index)), self._seconds(index)
        holds = {
            "lte": lambda value: value <= indicator.value,
            "lt": lambda value: value < indicator.value,
            "gte": lambda value: value >= indicator.value,
            "gt": lambda value: value > indicator.value,
        }[indicator.op]
        valid = seconds if values else 0
        return (valid if all(map(holds, values)) else 0), valid

    def _share(self, indicator: Raw, index: int) -> tuple[int, int]:
        values = list(self._held(indicator.selector, index))
        if not values:
            return 0, 0
        share = min(max(sum(values) / len(values), 0.0), 1.0)
        total = self._seconds(index) * SHARE_PARTS
        return round(total * (1 - share if indicator.failure else share)), total

    def _seconds(self, index: int) -> int:
        return round(self._interval) if index else 0

    def _held(self, selector: Selector, index: int) -> Iterable[float]:
        """What gauges were since the sample before: their value then."""
        for series, values in self._table.values():
            if selects(selector, selector.metric, series):
                before = [value for value in values[: max(index, 1)] if not isnan(value)]
                if before:
                    yield before[-1]

    def _increase(self, name: str, selector: Selector, **more: str) -> float:
        found = (
            self._grown[key] for key, (series, _) in self._table.items() if selects(selector, name, series, **more)
        )
        return sum(found, 0.0)

    def _grow(self, index: int) -> None:
        """How much each series has grown since its sample before; one that falls began anew."""
        for key, (_, values) in self._table.items():
            value = values[index] if index < len(values) else nan
            before, self._grown[key] = self._last.get(key), 0.0
            if isnan(value):
                continue
            self._last[key] = value
            if before is not None:
                self._grown[key] = value - before if value >= before else value
