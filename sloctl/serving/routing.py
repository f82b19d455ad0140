"""Which variant each class and each request is served with: tiers and wishes over the rotation."""

from collections.abc import Callable, Sequence
from typing import Any

from sloctl.admission.breaker import BreakerState
from sloctl.admission.tiers import Unmet, Wish, by_class, choose
from sloctl.serving.rotation import Rotation
from sloctl.serving.variant import Variant

Cells = Sequence[dict[str, Any]]


class Routing:
    """The variants of classes, highest first. A class whose variant cannot run follows the model."""

    __slots__ = ("_clock", "_rotation", "_routes", "_serving", "_shown", "_tiers")

    def __init__(self, rotation: Rotation, shown: Cells, clock: Callable[[], float]) -> None:
        """`shown` are gauges by class and name of a variant."""
        self._rotation = rotation
        self._shown = shown
        self._clock = clock
        self._tiers: tuple[int, ...] = ()
        self._serving: Variant | None = None
        self._routes: tuple[Variant, ...] = ()

    def follow(self, tiers: Sequence[int]) -> None:
        """What the control word says: indices of variants by class, -1 for the model's."""
        self._tiers = tuple(tiers) if any(0 <= tier < len(self._rotation.variants) for tier in tiers) else ()
        self._serving = None  # to be looked at anew

    def refresh(self) -> bool:
        """Looks at which variants can run; returns whether a class is served with another one from now on."""
        serving = self._rotation.serving
        if serving is None or (serving is self._serving and not self._tiers):
            return False
        self._serving = serving
        routes = self._routes_now(serving)
        if routes == self._routes:
            return False
        self._routes = routes
        for cells, route in zip(self._shown, routes, strict=True):
            for name, cell in cells.items():
                cell.set(1.0 if name == route.name else 0.0)
        return True

    def _routes_now(self, serving: Variant) -> tuple[Variant, ...]:
        variants = self._rotation.variants
        if not self._tiers:
            return (serving,) * len(self._shown)
        can = [0 <= tier < len(variants) and self.usable(variants[tier]) for tier in self._tiers]
        tiers = [tier if able else -1 for tier, able in zip(self._tiers, can, strict=True)]
        return tuple(variants[index] for index in by_class(variants.index(serving), tiers))

    def usable(self, variant: Variant) -> bool:
        """Whether requests can be given to it: it is up, and its breaker lets some pass, none while its probes fail."""
        if variant.steady:
            return True
        breaker = variant.breaker
        return (
            variant.up
            and variant.answers
            and (breaker.state is not BreakerState.OPEN or not breaker.refuses(self._clock()))
        )

    def stranded(self, variant: Variant) -> bool:
        """Whether nothing may wait for it: it cannot run, and does not serve the model."""
        return variant is not self._rotation.serving and not self.usable(variant)

    def route(self, priority: int) -> Variant:
        """The variant of a class while some variant serves."""
        return self._routes[priority]

    def find(self, priority: int, wish: Wish | None) -> Variant | Unmet:
        """The variant for a request of a class while some variant serves."""
        own = self._routes[priority]
        return own if wish is None else choose(wish, self._rotation.variants, own, self.usable)

    def meets(self, wish: Wish | None, variant: Variant) -> bool:
        """Whether a variant will do for a wish."""
        return wish is None or (wish.precision in ("", variant.name) and variant.accuracy >= wish.accuracy)
