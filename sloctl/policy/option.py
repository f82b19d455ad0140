"""What a planner expects of one variant at the load that it plans for."""

from dataclasses import dataclass

from sloctl.policy.delay import late_share
from sloctl.policy.explain import number
from sloctl.policy.facts import NAN


@dataclass(frozen=True, slots=True)
class Option:
    """A variant as it is now: `capacity` in rows/s and `batch_time` in seconds, both `slowdown` times slower than
    measured, and `accuracy`. `objective` in seconds and `budget` are the SLO's. NaN is what is not known.
    """

    variant: str
    capacity: float
    batch_time: float
    slowdown: float
    accuracy: float
    objective: float
    budget: float

    def late(self, load: float) -> float:
        """Share of answers that come later than the objective at a load in rows/s."""
        known = self.objective == self.objective
        return late_share(load, self.capacity, self.batch_time, self.objective) if known else NAN

    def burn(self, load: float) -> float:
        """Expected burn rate of the objective."""
        return self.late(load) / self.budget

    def carries(self, load: float, spare: float, most: float) -> bool:
        """Whether it carries `load` with a share of its capacity to spare and burns at most so fast."""
        return load <= (1 - spare) * self.capacity and self.burn(load) <= most

    def served(self, load: float, spare: float) -> float:
        """Share of the load that it carries with a share of its capacity to spare; the rest has to be refused."""
        return min(1.0, (1 - spare) * self.capacity / load) if load > 0 else 1.0

    def effective(self, load: float, spare: float) -> float:
        """Expected accuracy over all that is offered, where no answer in time counts as a wrong one:
        accuracy × (1 − late share) × served share.
        """
        served = self.served(load, spare)
        return self.accuracy * (1 - self.late(load * served)) * served

    def describe(self, load: float, spare: float) -> str:
        """`int8 carries 850 of 1000 with 15% to spare, expected burn 0.02`."""
        carried, burn = number((1 - spare) * self.capacity), self.burn(load)
        room = f"{number(self.capacity)} with {spare:.0%} to spare" if spare else number(self.capacity)
        shown = number(burn) if burn >= 0.001 else "under 0.001"
        return f"{self.variant} carries {carried} of {room}{self._slower}, expected burn {shown}"

    def describe_effective(self, load: float, spare: float) -> str:
        """`int8 gives 0.9310 (accuracy 0.98, 0.95 served, 1 in time)`."""
        served = self.served(load, spare)
        parts = f"accuracy {number(self.accuracy)}, {served:.3g} served, {1 - self.late(load * served):.3g} in time"
        return f"{self.variant} gives {self.effective(load, spare):.4f} ({parts}){self._slower}"

    @property
    def _slower(self) -> str:
        return f", {self.slowdown:.2f} times slower than measured" if self.slowdown > 1 else ""
