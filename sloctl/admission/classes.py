"""V2 request priorities as classes."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PriorityClasses:
    """The classes, highest first, and the index of the one that a request without a priority belongs to."""

    names: tuple[str, ...]
    default: int

    @classmethod
    def of(cls, priorities: Sequence[str], default_priority: str) -> "PriorityClasses":
        """From a daemon's `priorities` and `defaultPriority`; ValueError if the latter is not among them."""
        return cls(tuple(priorities), tuple(priorities).index(default_priority))

    def index(self, priority: int | None) -> int:
        """Class index of V2's `priority`: 1 is the highest, 0 or none the default, beyond the last the last."""
        if not priority or priority < 0:
            return self.default
        return min(priority, len(self.names)) - 1
