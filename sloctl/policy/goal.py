"""What a planner is after: the most accurate variant that carries the load, or the highest effective accuracy.

Both compare at the load for a step down, and for a step up at so many times the load that `hysteresis` besides
`margin` is spare: what is chosen going up is then no reason to go down until the load has grown by as much, so noise
cannot flap.
"""

from collections.abc import Iterable
from typing import Protocol

from sloctl.policy.document import PlannerSpec
from sloctl.policy.option import Option


class Goal(Protocol):
    """Chooses among usable variants, most accurate first, for a load in rows/s."""

    def known(self, option: Option, load: float) -> bool:
        """Whether all that it needs of a variant is known."""

    def enough(self, current: Option, below: Iterable[Option], load: float) -> bool:
        """Whether there is no reason to leave the serving variant for one below it."""

    def down(self, current: Option, below: Iterable[Option], load: float) -> Option | None:
        """The one below to go to, where it is not enough."""

    def up(self, current: Option, above: Iterable[Option], load: float) -> Option | None:
        """The one above to go to, where it is."""

    def describe(self, option: Option, load: float, *, up: bool) -> str:
        """What is expected of a variant, in words."""


def goal_of(spec: PlannerSpec) -> Goal:
    """The goal that a policy names."""
    return EffectiveAccuracy(spec) if spec.maximise else Carrying(spec)


def _more(spec: PlannerSpec) -> float:
    """How many times the load leaves `hysteresis` besides `margin`."""
    return (1 - spec.margin) / (1 - spec.margin - spec.hysteresis)


class Carrying:
    """The most accurate variant that carries the load within the objective; the fastest where none does."""

    def __init__(self, spec: PlannerSpec) -> None:
        self._margin, self._most, self._more = spec.margin, spec.max_burn, _more(spec)
        self._spare = spec.margin + spec.hysteresis

    def known(self, option: Option, load: float) -> bool:
        """Whether capacity and burn are known."""
        return load + option.capacity + option.burn(load) < float("inf")

    def enough(self, current: Option, _: Iterable[Option], load: float) -> bool:
        """Whether the serving variant carries it."""
        return current.carries(load, self._margin, self._most)

    def down(self, current: Option, below: Iterable[Option], load: float) -> Option | None:
        """The first that carries it, or the fastest."""
        faster = [option for option in below if option.capacity > current.capacity]
        fastest = max(faster, key=lambda option: option.capacity, default=None)
        return next((option for option in faster if option.carries(load, self._margin, self._most)), fastest)

    def up(self, _: Option, above: Iterable[Option], load: float) -> Option | None:
        """The first that carries it and some more."""
        more = load * self._more
        return next((option for option in above if option.carries(more, self._margin, self._most)), None)

    def describe(self, option: Option, load: float, *, up: bool) -> str:
        """What it carries, with how much to spare."""
        return option.describe(load, self._spare if up else self._margin)


class EffectiveAccuracy:
    """The highest expected accuracy over all that is offered (`Option.effective`)."""

    def __init__(self, spec: PlannerSpec) -> None:
        self._margin, self._more = spec.margin, _more(spec)

    def known(self, option: Option, load: float) -> bool:
        """Whether its accuracy is known, too."""
        return self._worth(option, load) >= 0

    def _worth(self, option: Option, load: float) -> float:
        return option.effective(load, self._margin)

    def enough(self, current: Option, below: Iterable[Option], load: float) -> bool:
        """Whether none below gives more."""
        return self.down(current, below, load) is None

    def down(self, current: Option, below: Iterable[Option], load: float) -> Option | None:
        """The best of those that give more."""
        better = [option for option in below if self._worth(option, load) > self._worth(current, load)]
        return max(better, key=lambda option: self._worth(option, load), default=None)

    def up(self, current: Option, above: Iterable[Option], load: float) -> Option | None:
        """The best of those that would give more even at more load."""
        return self.down(current, above, load * self._more)

    def describe(self, option: Option, load: float, *, up: bool) -> str:  # noqa: ARG002  # the same for both ways
        """What it gives, and of what parts."""
        return option.describe_effective(load, self._margin)
