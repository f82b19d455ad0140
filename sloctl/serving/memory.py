"""Whether a variant's memory fits, reckoned before it is loaded: a failed load leaks, and may take others with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from sloctl.config.base import format_bytes
from sloctl.engines.base import EngineError

MARGIN = 64 << 20  # bytes that stay free: the driver's own needs, and what a manifest did not see
UNMEASURED = 3  # times the file's size: weights as they are, once more in a layout of the device's, and activations


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a load takes, and where the figure comes from."""

    size: int
    source: str

    @classmethod
    def of(cls, measured: int | None, file_size: int) -> "Need":
        """What its manifest says; where that is nothing, a multiple of the file's size."""
        if measured:
            return cls(measured, "its manifest")
        return cls(UNMEASURED * file_size, f"{UNMEASURED} times its file, since its manifest says nothing")


def headroom(free: int, taken: Mapping[str, int], budget: int | None) -> int:
    """Bytes that another load of the model could take: what is free or what the budget leaves, less the margin."""
    left = free if budget is None else min(free, budget - sum(taken.values()))
    return left - MARGIN


def require(need: Need, free: int, taken: Mapping[str, int], budget: int | None) -> str:
    """The arithmetic of a load that fits. Raises EngineError with that of one that does not.

    `taken` is what each loaded variant of the model holds. The old engine of a reload is still among them, so its
    peak is counted.
    """
    asks = f"needs {format_bytes(need.size)} ({need.source}) + {format_bytes(MARGIN)} margin"
    has = f"{format_bytes(free)} of the device are free"
    if budget is not None:
        by = " and ".join(f"{format_bytes(size)} by {name}" for name, size in taken.items()) or "nothing"
        has = f"budget {format_bytes(budget)}, taken {by}; {has}"
    if need.size <= headroom(free, taken, budget):
        return f"{asks}; {has}"
    fits_without_budget = need.size + MARGIN <= free
    cure = "raise memoryBudget" if fits_without_budget else "free some of the device"
    raise EngineError(f"does not fit: {asks}; {has}; {cure}, or lower maxBatch or contexts")
