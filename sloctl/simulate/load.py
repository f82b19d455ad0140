"""The load of a simulation: recorded, or one of the courses that break controllers.

A synthetic course lies between a `low` rate, which the most accurate variant carries easily, and a `high` one, which it
does not carry and the fastest does. Arrivals are Poisson, drawn from the seed; those of a trace are taken as recorded.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sloctl.policy.facts import Args, Value

_HOUR, _DAY = 3600.0, 86400.0
_EPOCH = 1704067200.0  # a Monday, midnight UTC
_NOISE = 0.05  # of the rate, for courses with noise
_SLOWER = 1 / 0.6
Rows = Sequence[Mapping[tuple[str, Args], Value]]


class Shape(StrEnum):
    """The synthetic courses."""

    STEP = "step"
    RAMP = "ramp"
    SINE = "sine"
    SQUARE = "square"
    NOISE = "noise"
    FLASH_CROWD = "flash-crowd"
    SLOW_DEVICE = "slow-device"
    WEEK = "week"


DOCS: Mapping[Shape, str] = {
    Shape.STEP: "low for a third of the time, then high",
    Shape.RAMP: "low, a straight rise in the middle third, high",
    Shape.SINE: "between low and high, three periods",
    Shape.SQUARE: "low and high in turn, with the cooldown's period",
    Shape.NOISE: "95 % of what the most accurate variant carries, with 5 % of noise",
    Shape.FLASH_CROWD: "low, within ten seconds twice what the fastest carries, dying down over ten minutes",
    Shape.SLOW_DEVICE: "80 % of what the most accurate carries; in the middle third all variants run at 60 %",
    Shape.WEEK: "seven days and nights between low and high, quieter at the weekend, with 5 % of noise",
}


@dataclass(frozen=True, slots=True)
class Course:
    """Arrivals `[ticks, classes]` in requests a tick of `dt` seconds, from the Unix time `start`; `rows` of a trace;
    `slowdowns` of the device and `sizes` of requests in rows by tick, none where it runs as measured, and of one row.
    """

    dt: float
    start: float
    arrivals: NDArray[np.float64]
    rows: Rows = ()
    slowdowns: tuple[float, ...] = ()
    sizes: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.dt * len(self.arrivals)

    def row(self, tick: int) -> Mapping[tuple[str, Args], Value]:
        """What was recorded for a tick; empty without a trace."""
        return self.rows[tick] if self.rows else {}

    def slowdown(self, tick: int) -> float:
        """How many times slower than measured the device runs in a tick."""
        return self.slowdowns[tick] if self.slowdowns else 1.0

    def request_rows(self, tick: int) -> float:
        """Rows of a request in a tick."""
        return self.sizes[tick] if self.sizes else 1.0


@dataclass(frozen=True, slots=True)
class Scale:
    """What shapes are drawn to: rates in requests/s, and the policy's cooldown in seconds."""

    low: float
    high: float
    accurate: float  # what the most accurate variant carries
    fastest: float
    cooldown: float

    @classmethod
    def of(cls, capacities: Sequence[float], margin: float, cooldown: float) -> "Scale":
        """From capacities, most accurate first, of which a share of `margin` stays free."""
        first, fastest = (1 - margin) * capacities[0], (1 - margin) * max(capacities)
        return cls(0.5 * first, min(1.6 * first, max(0.9 * fastest, 1.1 * first)), first, fastest, max(cooldown, 2.0))


def length_of(shape: Shape) -> float:
    """Seconds of a course where nobody says otherwise."""
    return 7 * _DAY if shape is Shape.WEEK else _HOUR


def synthetic(shape: Shape, scale: Scale, classes: int, length: float, dt: float, seed: int) -> Course:
    """A course of `length` seconds, the same for the same seed; classes have equal parts."""
    numbers = np.random.default_rng(seed)
    times = np.arange(round(length / dt), dtype=np.float64) * np.float64(dt)
    rates = _RATES[shape](times, length, scale, numbers)
    arrivals = numbers.poisson(np.maximum(rates, 0.0)[:, None] * dt / classes, (len(times), classes))
    slow = np.where(np.abs(times / length - 0.5) < 1 / 6, _SLOWER, 1.0) if shape is Shape.SLOW_DEVICE else np.ones(0)
    return Course(dt, _EPOCH, arrivals.astype(np.float64), slowdowns=tuple(slow.tolist()))


_Rates = NDArray[np.float64]


def _step(times: _Rates, length: float, scale: Scale, _: np.random.Generator) -> _Rates:
    return np.where(times < length / 3, scale.low, scale.high)


def _ramp(times: _Rates, length: float, scale: Scale, _: np.random.Generator) -> _Rates:
    return scale.low + (scale.high - scale.low) * np.clip(3 * times / length - 1, 0.0, 1.0)


def _sine(times: _Rates, length: float, scale: Scale, _: np.random.Generator) -> _Rates:
    return scale.low + (scale.high - scale.low) * (1 - np.cos(6 * math.pi * times / length)) / 2


def _square(times: _Rates, _: float, scale: Scale, __: np.random.Generator) -> _Rates:
    return np.where(times % scale.cooldown < scale.cooldown / 2, scale.low, scale.high)


def _noise(times: _Rates, _: float, scale: Scale, numbers: np.random.Generator) -> _Rates:
    level = 0.95 * scale.accurate
    return np.asarray(numbers.normal(level, _NOISE * level, len(times)))


def _slow_device(times: _Rates, _: float, scale: Scale, __: np.random.Generator) -> _Rates:
    return np.full(len(times), 0.8 * scale.accurate)


def _flash_crowd(times: _Rates, length: float, scale: Scale, _: np.random.Generator) -> _Rates:
    since = times - length / 3
    peak = 2 * scale.fastest - scale.low
    return scale.low + np.where(since < 0, 0.0, peak * np.clip(since / 10, 0, 1) * np.exp(-np.maximum(since, 0) / 300))


def _week(times: _Rates, _: float, scale: Scale, numbers: np.random.Generator) -> _Rates:
    day = (1 - np.cos(2 * math.pi * (times / _DAY - 0.125))) / 2  # quietest at three, busiest at fifteen hours
    size = np.where((times // _DAY) % 7 < 5, 1.0, 0.6)
    noise = 1 + _NOISE * numbers.standard_normal(len(times))
    return (0.3 * scale.low + (scale.high - 0.3 * scale.low) * day * size) * noise


_RATES = {
    Shape.STEP: _step,
    Shape.RAMP: _ramp,
    Shape.SINE: _sine,
    Shape.SQUARE: _square,
    Shape.NOISE: _noise,
    Shape.FLASH_CROWD: _flash_crowd,
    Shape.SLOW_DEVICE: _slow_device,
    Shape.WEEK: _week,
}


def recorded(times: Sequence[float], rows: Rows, classes: Sequence[str], dt: float) -> Course:
    """A trace's course in ticks of `dt` seconds; gaps repeat the row before, and so does a row without the load.

    In a trace that does not tell the rows of requests (`request_rows`), each has one.
    """
    start, length = times[0], times[-1] - times[0] + dt
    at = np.searchsorted(times, start + np.arange(max(round(length / dt), 1)) * dt, side="right") - 1
    rates = np.array([[_rate(row, name, len(classes)) for name in classes] for row in rows])
    sizes = np.array([[_size(row)] for row in rows])
    for known in (rates, sizes):
        for before, after in pairwise(known):
            np.copyto(after, before, where=np.isnan(after))
    # Before the first that is known.
    rates, sizes = np.nan_to_num(rates), np.nan_to_num(sizes[:, 0], nan=1.0)
    slow = np.array([_slowdown(row) for row in rows])
    kept = [rows[index] for index in at.tolist()]
    return Course(dt, start, rates[at] * dt, kept, tuple(slow[at].tolist()), tuple(sizes[at].tolist()))


def _size(row: Mapping[tuple[str, Args], Value]) -> float:
    """Rows of a request; NaN where none was told."""
    rows = float(row.get(("request_rows", ()), math.nan))
    return rows if 0 < rows < math.inf else math.nan


def _slowdown(row: Mapping[tuple[str, Args], Value]) -> float:
    """What was seen of the variant that served then; 1 where nothing was."""
    seen = [float(value) for (name, _), value in row.items() if name == "slowdown"]
    return max((value for value in seen if value > 0), default=1.0)


def _rate(row: Mapping[tuple[str, Args], Value], name: str, classes: int) -> float:
    """A class's offered rate; where a trace does not tell classes apart, its part of the whole."""
    value = row.get(("offered", (name,)), math.nan)
    value = value if value == value else float(row.get(("offered_rate", ()), math.nan)) / classes
    return float(value)
