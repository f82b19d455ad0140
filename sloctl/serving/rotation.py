"""Which variant serves: the wanted one or, while it cannot, another that may stand in; and who comes back how.

Algorithm. Every variant has a breaker; it is *steady* while it is up and its breaker lets all calls pass. The wanted
variant serves while it is steady. Else the one that serves now stays, if it is steady and may stand in; else the
nearest that does takes over, the less accurate first. Meanwhile the wanted one gets as many requests of each batch as
its breaker permits: the probes of a half-open round, then the rising share of the ramp, but none while its health
probes fail. So a variant is left and comes back without the control plane.

Where none is steady, what the model's breaker lets in runs on the variant that is nearest to it: one that ramps, one
that is being probed, or the one whose breaker opened first, so that each has its turn.

Locking: none; all of it runs on the event loop.
"""

from collections.abc import Callable, Sequence

from sloctl.admission.breaker import BreakerState, Command
from sloctl.serving.pending import Pending
from sloctl.serving.variant import Variant

Part = tuple[Variant, list[Pending]]
_RANKS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1}


class Rotation:
    """The variants of a model, most accurate first, and which of them serves."""

    __slots__ = ("_allowed", "_switched", "_wanted", "complete", "serving", "variants")

    def __init__(self, variants: Sequence[Variant], switched: Callable[[Variant | None, Variant], None]) -> None:
        """`switched` is told which variant served and which one serves from now on."""
        self.variants = tuple(variants)
        self.serving: Variant | None = None
        self.complete = False  # all variants have been tried; nobody stands in before
        self._wanted: Variant | None = None
        self._allowed = -1
        self._switched = switched

    def follow(self, wanted: int, stand_ins: int) -> None:
        """What the control word says: the wanted variant's index, and a bit mask of those that may stand in."""
        self._wanted = self.variants[wanted] if 0 <= wanted < len(self.variants) else None
        self._allowed = stand_ins

    @property
    def settled(self) -> bool:
        """Whether the wanted variant serves, and takes all that comes."""
        wanted = self._wanted
        return wanted is not None and wanted is self.serving and wanted.steady

    def choose(self) -> None:
        """Lets the variant serve that should; changes nothing where none can."""
        wanted = self._wanted
        if wanted is None or (wanted is self.serving and wanted.steady):
            return
        chosen = self._best(wanted)
        if chosen is not None and chosen is not self.serving:
            before, self.serving = self.serving, chosen
            self._switched(before, chosen)

    def _best(self, wanted: Variant) -> Variant | None:
        if wanted.steady or not self.complete:
            return wanted if wanted.up else None
        candidates = self._candidates()
        steady = [variant for variant in candidates if variant.steady]
        if self.serving in steady:
            return self.serving
        return steady[0] if steady else min(candidates, key=_turn, default=None)

    def _candidates(self) -> list[Variant]:
        """The variants that are up and may serve: the wanted one, then the less accurate ones, then the others."""
        if self._wanted is None:
            return []
        at = self.variants.index(self._wanted)
        order = (*range(at + 1, len(self.variants)), *reversed(range(at)))
        allowed = [self.variants[index] for index in order if self._allowed >> index & 1]
        return [variant for variant in (self._wanted, *allowed) if variant.up]

    def split(self, batch: list[Pending], now: float, *, probing: bool) -> Sequence[Part]:
        """Which variant runs which requests of a batch, now that they have tokens; empty where none serves.

        `probing` is whether they are probes of the model's breaker: an open variant then begins its own round.
        """
        serving, wanted = self.serving, self._wanted
        if serving is None:
            return ()
        if serving.breaker.steady:
            parts: list[Part] = []
            if wanted is not serving and wanted is not None and wanted.up and wanted.answers:
                # One that asks for a precision is no probe of another.
                probes = _admitted(wanted, [each for each in batch if each.wish is None], now)
                gone = set(map(id, probes))
                parts, batch = ([(wanted, probes)] if probes else []), [e for e in batch if id(e) not in gone]
                wanted.breaker.calls.not_permitted += len(batch)
            if batch:
                _give(serving, batch)
                parts.append((serving, batch))
            return parts
        if probing and serving.breaker.state is BreakerState.OPEN:
            serving.breaker.command(Command.HALF_OPEN, now)
        _admitted(serving, batch, now)
        return ((serving, batch),)

    def beside(self, variant: Variant, batch: list[Pending], now: float) -> tuple[list[Pending], list[Pending]]:
        """Of a batch for another variant than the serving one, what its breaker lets run on it, and the others."""
        admitted = _admitted(variant, batch, now)
        rest = batch[len(admitted) :]
        variant.breaker.calls.not_permitted += len(rest)
        return admitted, rest

    def spared(self, variant: Variant | None) -> bool:
        """Whether another variant that may serve is steady, so that a failure of this one is not the model's."""
        return any(other.steady for other in self._candidates() if other is not variant)

    def unasked(self, variant: Variant) -> bool:
        """Whether another variant is wanted and one serves, so that no batch comes to try this one's breaker."""
        return variant is not self._wanted and self.spared(variant)

    @property
    def exhausted(self) -> bool:
        """Whether the breakers of all variants that may serve are open."""
        candidates = self._candidates()
        return bool(candidates) and all(each.breaker.state is BreakerState.OPEN for each in candidates)


def _turn(variant: Variant) -> tuple[int, float]:
    return _RANKS.get(variant.breaker.state, 2), variant.breaker.entered


def _admitted(variant: Variant, batch: list[Pending], now: float) -> list[Pending]:
    """As many of the requests as the variant's breaker permits, with their tokens."""
    admitted = batch[: variant.breaker.take(now, len(batch))]
    _give(variant, admitted)
    return admitted


def _give(variant: Variant, batch: list[Pending]) -> None:
    token = variant.breaker.generation
    for pending in batch:
        pending.variant_token = token
