"""When each request leaves: phases with rates, turned into Poisson arrivals. Pure, and the same for a seed.

A Poisson process with a varying rate r(t) is one of rate 1 on the stretched time Λ(t) = ∫r: draw exponential
gaps there, and map each point back by the inverse of Λ (Çinlar's inversion). With r linear on a piece, Λ is
quadratic on it, and the inverse has a closed form.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of `seconds` at `rate` requests/s, reached in a straight line within its first `ramp` seconds."""

    name: str
    seconds: float
    rate: float
    ramp: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.seconds, self.rate, self.ramp)
        if not all(map(math.isfinite, numbers)) or min(numbers) < 0 or self.ramp > self.seconds:
            raise ValueError(f"phase {self.name!r}: wanted finite numbers, none below 0, and ramp at most seconds")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: seconds after the start, the phase and the priority class it belongs to."""

    at: float
    phase: str
    priority: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """Phases and their arrivals, in order of time."""

    phases: tuple[Phase, ...]
    arrivals: tuple[Arrival, ...]

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return sum(phase.seconds for phase in self.phases)

    def span(self, name: str) -> tuple[float, float]:
        """Start and end of the phase in seconds; KeyError if there is none."""
        start = 0.0
        for phase in self.phases:
            if phase.name == name:
                return start, start + phase.seconds
            start += phase.seconds
        raise KeyError(name)

    def phase_at(self, seconds: float) -> Phase:
        """The phase at a moment: the first before the start, the last after the end."""
        ends, end = [], 0.0
        for phase in self.phases[:-1]:
            end += phase.seconds
            ends.append(end)
        return self.phases[bisect_right(ends, seconds)]


def plan(phases: Sequence[Phase], mix: Mapping[str, float], seed: int) -> Schedule:
    """Poisson arrivals over the phases, each of a priority class drawn by the weights in `mix`.

    Raises ValueError for no phase, a name used twice, and weights that cannot be drawn from.
    """
    names = [phase.name for phase in phases]
    if not names or len(set(names)) != len(names):
        raise ValueError("a schedule wants at least one phase, and each of its own name")
    if not mix or min(mix.values()) < 0 or sum(mix.values()) <= 0:
        raise ValueError("the priority mix wants weights of at least 0, one of them above")
    # Of the generator's methods, only random() is promised to give the same numbers in every Python version.
    numbers = random.Random(seed)  # noqa: S311  a load, not a secret
    arrivals = [Arrival(at, phase, _draw(mix, numbers.random())) for at, phase in _times(phases, numbers)]
    return Schedule(tuple(phases), tuple(arrivals))


def _times(phases: Sequence[Phase], numbers: random.Random) -> Iterator[tuple[float, str]]:
    gap = _gap(numbers)
    for start, seconds, first, last, name in _pieces(phases):
        area = (first + last) / 2 * seconds
        while gap < area:
            yield start + _inverse(gap, first, last, seconds), name
            gap += _gap(numbers)
        gap -= area


def _gap(numbers: random.Random) -> float:
    return -math.log(1.0 - numbers.random())  # random() is never 1


def _pieces(phases: Sequence[Phase]) -> Iterator[tuple[float, float, float, float, str]]:
    """Start, length, first and last rate of each piece on which the rate is linear, and its phase."""
    start, before = 0.0, 0.0
    for phase in phases:
        if phase.ramp > 0:
            yield start, phase.ramp, before, phase.rate, phase.name
        if phase.seconds > phase.ramp:
            yield start + phase.ramp, phase.seconds - phase.ramp, phase.rate, phase.rate, phase.name
        start, before = start + phase.seconds, phase.rate


def _inverse(area: float, first: float, last: float, seconds: float) -> float:
    """The x in [0, seconds] for which the line from `first` to `last` has that area to its left.

    The root of slope·x²/2 + first·x = area in the form that does not cancel, so that slope 0 needs no case.
    """
    slope = (last - first) / seconds
    root = math.sqrt(max(first * first + 2 * slope * area, 0.0))
    return min(2 * area / (first + root), seconds) if area > 0 else 0.0


def _draw(mix: Mapping[str, float], number: float) -> str:
    left = number * sum(mix.values())
    for name, weight in mix.items():
        left -= weight
        if left < 0:
            return name
    return max(mix, key=lambda name: mix[name])  # only by rounding
