"""Which variant serves a request: that of its class, or the one that it asks for. Pure.

By class. A class has the variant of its tier, or that of the model; but never a more accurate one than a higher class.
So a tier for low requests does not serve them better than high ones once the model has been degraded below it, and a
tier for high ones holds them at their precision while the others are degraded.

By request. A variant that the request names serves it, and no other. With a minimum accuracy that of its class does if
it has as much, else the fastest one that has; a variant whose accuracy was never measured has none.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar


class Candidate(Protocol):
    """What the choice asks about a variant."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def accuracy(self) -> float:
        """As measured; NaN where it was not, or is not known yet."""

    @property
    def known(self) -> bool:
        """Whether the accuracy is final: the variant has been loaded."""

    @property
    def pace(self) -> float:
        """Seconds of a row at its best batch."""


_C = TypeVar("_C", bound=Candidate)


class Wish(NamedTuple):
    """What a request asks for: a variant by name ("": any), and a minimum accuracy (0: any)."""

    precision: str = ""
    accuracy: float = 0.0


@dataclass(frozen=True, slots=True)
class Unmet:
    """Why no variant serves a request; `final` if none ever will."""

    message: str
    final: bool


def by_class(model: int, tiers: Sequence[int]) -> tuple[int, ...]:
    """The index of the variant of each class, highest first; `model` is the model's, a tier of -1 is none."""
    served, most = [], 0
    for tier in tiers:
        most = max(most, tier if tier >= 0 else model)
        served.append(most)
    return tuple(served)


def choose(wish: Wish, variants: Sequence[_C], own: _C, up: Callable[[_C], bool]) -> _C | Unmet:
    """The variant that serves a wish; `own` is that of the request's class, `up` says which can be given requests."""
    if wish.precision:
        return _named(wish, variants, up)
    if own.accuracy >= wish.accuracy and up(own):
        return own
    able = [variant for variant in variants if variant.accuracy >= wish.accuracy]
    ready = [variant for variant in able if up(variant)]
    if ready:
        return min(ready, key=lambda variant: variant.pace)
    if not able and all(variant.known for variant in variants):
        best = max((v.accuracy for v in variants if not math.isnan(v.accuracy)), default=None)
        there = "none was measured" if best is None else f"the most accurate one has {best:g}"
        return Unmet(f"no variant has an accuracy of {wish.accuracy:g}; {there}", final=True)
    return Unmet(f"no variant with an accuracy of {wish.accuracy:g} is up", final=False)


def _named(wish: Wish, variants: Sequence[_C], up: Callable[[_C], bool]) -> _C | Unmet:
    found = next((variant for variant in variants if variant.name == wish.precision), None)
    if found is None:
        there = ", ".join(variant.name for variant in variants)
        return Unmet(f"there is no variant {wish.precision!r}; there is {there}", final=True)
    if found.known and wish.accuracy and not found.accuracy >= wish.accuracy:
        return Unmet(f"variant {found.name!r} does not have an accuracy of {wish.accuracy:g}", final=True)
    if not up(found) or (wish.accuracy and not found.known):
        return Unmet(f"variant {found.name!r} is not up", final=False)
    return found
