"""Conditions of alerts on single metrics, in a form narrow enough for two engines: PromQL, and samples in process.

Each condition gives the series for which it holds: their labels and a value. In process a condition is read with
fresh samples a second or so; what it must remember (increases within a window, the most that there was) it keeps as
the few moments at which something changed, so its memory is bounded by the window and not by the number of readings.
"""

import operator
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sloctl.config.base import format_duration
from sloctl.slo.objective import Op, Selector
from sloctl.slo.promql import COMPARE, matchers

Labels = tuple[tuple[str, str], ...]
Sample = tuple[Labels, float]
Samples = Mapping[str, Sequence[Sample]]
"""What is known at one moment: by metric name, labels and value of each series."""

_KEEPS: Mapping[Op, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


class Reader(ABC):
    """A condition that is read again and again."""

    @abstractmethod
    def read(self, now: float, samples: Samples) -> Iterator[Sample]:
        """The series for which it holds at `now` (seconds, never less than before)."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A gauge that is more or less than a value; NaN is neither."""

    series: Selector
    op: Op
    value: float

    def promql(self) -> str:
        """As an expression."""
        return f"{_series(self.series)} {COMPARE[self.op]} {self.value:.12g}"

    def reader(self) -> Reader:
        """In process."""
        return _Compared(self)


@dataclass(frozen=True, slots=True)
class Share:
    """A gauge over another one with the same labels; without a positive whole there is no share."""

    part: Selector
    whole: Selector
    op: Op
    value: float

    def promql(self) -> str:
        """As an expression."""
        return f"{_series(self.part)} / ({_series(self.whole)} > 0) {COMPARE[self.op]} {self.value:.12g}"

    def reader(self) -> Reader:
        """In process."""
        return _Share(self)


@dataclass(frozen=True, slots=True)
class Increase:
    """How much a counter grew within `window` seconds, its series summed over the labels `without`.

    PromQL extrapolates an increase to the whole window, in process it is exact; so whole numbers are what to compare
    with.
    """

    series: Selector
    window: float
    op: Op
    value: float
    without: tuple[str, ...] = ()

    def promql(self) -> str:
        """As an expression."""
        grown = f"increase({_series(self.series)}[{format_duration(self.window)}])"
        summed = f"sum without ({', '.join(self.without)}) ({grown})" if self.without else grown
        return f"{summed} {COMPARE[self.op]} {self.value:.12g}"

    def reader(self) -> Reader:
        """In process."""
        return _Increase(self)


@dataclass(frozen=True, slots=True)
class Missing:
    """Fewer of something than `expected`, or where that is not known than the most of the last `window` seconds."""

    present: Selector
    expected: Selector
    window: float

    def promql(self) -> str:
        """As an expression."""
        present = _series(self.present)
        most = f"max_over_time({present}[{format_duration(self.window)}])"
        return f"{present} < ({_series(self.expected)} or {most})"

    def reader(self) -> Reader:
        """In process."""
        return _Missing(self)


Condition = Compared | Share | Increase | Missing


def _series(selector: Selector) -> str:
    return f"{selector.metric}{matchers(selector)}"


def _selected(selector: Selector, samples: Samples) -> Iterator[Sample]:
    for labels, value in samples.get(selector.metric, ()):
        if not selector.labels or all(text in selector.labels.get(label, (text,)) for label, text in labels):
            yield labels, value


class _Compared(Reader):
    def __init__(self, condition: Compared) -> None:
        self._condition, self._keeps = condition, _KEEPS[condition.op]

    def read(self, now: float, samples: Samples) -> Iterator[Sample]:  # noqa: ARG002
        for labels, value in _selected(self._condition.series, samples):
            if self._keeps(value, self._condition.value):
                yield labels, value


class _Share(Reader):
    def __init__(self, condition: Share) -> None:
        self._condition, self._keeps = condition, _KEEPS[condition.op]

    def read(self, now: float, samples: Samples) -> Iterator[Sample]:  # noqa: ARG002
        wholes = dict(_selected(self._condition.whole, samples))
        for labels, part in _selected(self._condition.part, samples):
            whole = wholes.get(labels, 0.0)
            if whole > 0 and self._keeps(part / whole, self._condition.value):
                yield labels, part / whole


class _Increase(Reader):
    """Remembers of each series its last value, and of each sum when it grew by how much."""

    def __init__(self, condition: Increase) -> None:
        self._condition, self._keeps = condition, _KEEPS[condition.op]
        self._last: dict[Labels, float] = {}
        self._grown: defaultdict[Labels, deque[tuple[float, float]]] = defaultdict(deque)

    def read(self, now: float, samples: Samples) -> Iterator[Sample]:
        found = [(labels, value) for labels, value in _selected(self._condition.series, samples) if value == value]
        sums = dict.fromkeys((self._summed(labels) for labels, _ in found), 0.0)
        for labels, value in found:
            last = self._last.get(labels, value)
            self._last[labels] = value
            grown = value - last if value >= last else value  # a counter that fell began anew
            if grown:
                self._grown[self._summed(labels)].append((now, grown))
        for labels in list(self._grown):
            moments = self._grown[labels]
            while moments and moments[0][0] <= now - self._condition.window:
                moments.popleft()
            if not moments:
                del self._grown[labels]
            elif labels in sums:
                sums[labels] = sum(grown for _, grown in moments)
        for labels, value in sums.items():
            if self._keeps(value, self._condition.value):
                yield labels, value

    def _summed(self, labels: Labels) -> Labels:
        without = self._condition.without
        return tuple(pair for pair in labels if pair[0] not in without) if without else labels


class _Missing(Reader):
    """Remembers the values that were the most of all since."""

    def __init__(self, condition: Missing) -> None:
        self._condition = condition
        self._most: defaultdict[Labels, deque[tuple[float, float]]] = defaultdict(deque)

    def read(self, now: float, samples: Samples) -> Iterator[Sample]:
        expected = dict(_selected(self._condition.expected, samples))
        for labels, present in _selected(self._condition.present, samples):
            moments = self._most[labels]
            while moments and moments[-1][1] <= present:
                moments.pop()
            moments.append((now, present))
            while moments[0][0] < now - self._condition.window:
                moments.popleft()
            if present < expected.get(labels, moments[0][1]):
                yield labels, present
