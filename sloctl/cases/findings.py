"""What an engine found for the expectations of a case, in a form that another engine's can be held against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sloctl.cases.document import Expectation

Value = float | str | None


_ROUNDING = 1e-9  # what sums of many floats differ by in another order


def near(one: float, other: float, tolerance: float) -> bool:
    """Whether two numbers are the same within a share of the larger, and within rounding in any case."""
    return abs(one - other) <= max(tolerance * max(abs(one), abs(other)), _ROUNDING)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that is expected: `index` is the expectation's place, `what` its part, such as `burnRate 1h`."""

    index: int
    at: float
    what: str
    slo: str
    expected: Value
    tolerance: float = 0.0

    def holds(self, found: Value) -> bool:
        """Whether that is what was expected."""
        if isinstance(self.expected, float) and isinstance(found, float):
            return near(found, self.expected, self.tolerance)
        return found == self.expected


@dataclass(frozen=True, slots=True)
class Finding:
    """What an engine found: a value, or `skipped` with the reason why it cannot say."""

    engine: str
    value: Value = None
    skipped: str = ""


def shown(names: Sequence[str]) -> str:
    """A set as text, the same for the same set."""
    return ", ".join(sorted(names)) or "none"


def questions(index: int, wanted: Expectation) -> Iterator[Question]:
    """The parts of an expectation."""
    at, slo, tolerance = wanted.at, wanted.slo or "", wanted.tolerance
    for window, value in wanted.error_ratio.items():
        yield Question(index, at, f"errorRatio {window}", slo, value, tolerance)
    for window, value in wanted.burn_rate.items():
        yield Question(index, at, f"burnRate {window}", slo, value, tolerance)
    if wanted.budget_remaining is not None:
        yield Question(index, at, "budgetRemaining", slo, wanted.budget_remaining, tolerance)
    if wanted.alerts is not None:
        yield Question(index, at, "alerts", "", shown([f"{alert.slo} {alert.tier}" for alert in wanted.alerts]))
    if wanted.decisions is not None:
        yield Question(index, at, "decisions", "", "; ".join(wanted.decisions) or "none")
    if wanted.precision is not None:
        yield Question(index, at, "precision", "", wanted.precision)
    for name, variant in (wanted.tiers or {}).items():
        yield Question(index, at, f"tiers {name}", "", variant)
    for name, share in (wanted.admit or {}).items():
        yield Question(index, at, f"admit {name}", "", share, tolerance)
