"""Goals beside what was measured, seed by seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """At least, or at most, so much; `unit` as people read it, `scale` from the measured number to it."""

    bound: float
    least: bool = False
    unit: str = ""
    scale: float = 1.0

    @property
    def text(self) -> str:
        """`≥ 97 %`."""
        return f"{'≥' if self.least else '≤'} {self.shown(self.bound)}"

    def shown(self, value: float) -> str:
        """A value in the goal's unit."""
        return f"{value * self.scale:.4g}{' ' if self.unit else ''}{self.unit}"

    def meets(self, value: float) -> bool:
        """Whether a value is within the bound; one that is not there is not."""
        return value >= self.bound if self.least else value <= self.bound

    def worst(self, values: Sequence[float]) -> float:
        """The value farthest on the wrong side; NaN where one is missing, or all are."""
        if not values or any(map(math.isnan, values)):
            return math.nan
        return min(values) if self.least else max(values)


def share(percent: float) -> Goal:
    """At least so many per cent."""
    return Goal(percent / 100, least=True, unit="%", scale=100)


def within(seconds: float) -> Goal:
    """At most so long."""
    return Goal(seconds, unit="ms", scale=1e3) if seconds < 1 else Goal(seconds, unit="s")


def count(most: float) -> Goal:
    """At most so many."""
    return Goal(most)


@dataclass(frozen=True)
class Finding:
    """One row: what, its goal, and the value of each seed."""

    what: str
    goal: Goal
    values: tuple[float, ...]

    @property
    def worst(self) -> float:
        """The worst seed's value."""
        return self.goal.worst(self.values)

    @property
    def met(self) -> bool:
        """Whether every seed is within the goal."""
        return self.goal.meets(self.worst)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(findings: Sequence[Finding]) -> str:
    """Every goal with its seeds, the worst, and whether it holds."""
    rows = [
        [
            found.what,
            found.goal.text,
            ", ".join(map(found.goal.shown, found.values)),
            found.goal.shown(found.worst),
            "yes" if found.met else "**no**",
        ]
        for found in findings
    ]
    return table(["what", "goal", "by seed", "worst", "met"], rows)
