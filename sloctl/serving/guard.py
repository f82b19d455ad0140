"""The breakers of a model and of its variants: which of them is told of which result.

A result counts for the breaker of the variant that gave it. For the model's it counts as well, but a failure or a
slow call only where no other variant could have served: while one can, leaving the variant is the remedy, and
refusing requests is not. Once the breakers of all variants that may serve are open, none is left, and the model's
opens too. What tells nothing about an engine is neutral: the client's mistakes, refusals, clients that go away.

Where no requests come, health probes take their place in half-open rounds.
"""

from sloctl.admission.breaker import NO_TOKEN, Breaker, BreakerState, Command
from sloctl.admission.tiers import Wish
from sloctl.board import Board
from sloctl.config.daemon import BreakerConfig
from sloctl.serving.breaker_cells import BreakerCells
from sloctl.serving.pending import Pending
from sloctl.serving.rotation import Rotation
from sloctl.serving.variant import Variant
from sloctl.telemetry.catalogue import MODEL_BREAKER

# The others are about what is let in, which the model's breaker alone decides.
_OPENING = frozenset({Command.TRIP, Command.FORCE_OPEN})
_FOR_VARIANTS = frozenset({Command.AUTO, Command.CLOSE, Command.DISABLE, Command.METRICS_ONLY})


class Guard:
    """A model's own breaker (`breaker`) and, through the rotation, those of its variants."""

    __slots__ = ("_cells", "_ordered", "_rotation", "_slow", "breaker")

    def __init__(self, config: BreakerConfig, board: Board, model: str, rotation: Rotation) -> None:
        self._cells = BreakerCells(board, MODEL_BREAKER, model)
        self._rotation = rotation
        self._slow = config.slow_call_duration_threshold
        self.breaker = Breaker(config, self._cells.enter)
        self._cells.enter(self.breaker.state)
        self._ordered = NO_TOKEN  # the generation of the model's breaker in which the control plane has it open

    def command(self, command: Command, now: float) -> None:
        """Carries out what the control plane asks."""
        self.breaker.command(command, now)
        if command in _OPENING:
            self._ordered = self.breaker.generation
        if command in _FOR_VARIANTS:
            for variant in self._rotation.variants:
                variant.breaker.command(command, now)

    @property
    def probing(self) -> bool:
        """Whether requests that are let in are probes."""
        return self.breaker.state is BreakerState.HALF_OPEN

    def apart(self, variant: Variant, wish: Wish | None) -> bool:
        """Whether the model's breaker has no say in a request that this variant is to serve, as only that one's has.

        So it is where the variant does not serve the model, or is named and its breaker lets all calls pass; but not
        while the model's is open by the control plane's order.
        """
        if self.breaker.generation == self._ordered:
            return False
        return variant is not self._rotation.serving or (wish is not None and bool(wish.precision) and variant.steady)

    def succeeded(self, batch: list[Pending], variant: Variant, now: float, seconds: float) -> None:
        """These requests were answered by a run that took so long."""
        mine = 0.0 if seconds >= self._slow and self._rotation.spared(variant) else seconds
        self.breaker.successes([pending.token for pending in batch], now, mine)
        variant.breaker.successes([pending.variant_token for pending in batch], now, seconds)
        if not variant.breaker.steady:
            self._look_for_others(now)

    def failed(self, batch: list[Pending], variant: Variant | None, now: float, seconds: float) -> None:
        """These requests failed on a variant, or (None) since there was none to run them."""
        spared = self._rotation.spared(variant)
        for pending in batch:
            if spared:
                self.breaker.release(pending.token)
            else:
                self.breaker.failure(pending.token, now, seconds)
            if variant is not None:
                variant.breaker.failure(pending.variant_token, now, seconds)
        self._look_for_others(now)

    def _look_for_others(self, now: float) -> None:
        if self.breaker.state is BreakerState.CLOSED and self._rotation.exhausted:
            self.breaker.command(Command.TRIP, now)

    def probed(self, variant: Variant, passed: bool, now: float) -> None:
        """A health probe of a variant came back while no requests came."""
        for breaker in (variant.breaker, *((self.breaker,) if variant is self._rotation.serving else ())):
            if breaker.steady or (token := breaker.acquire(now)) is None:
                continue
            if passed:
                breaker.success(token, now)
            else:
                breaker.failure(token, now)

    def tick(self, now: float) -> None:
        """What has to happen without requests; shows all breakers."""
        self.breaker.tick(now)
        self._cells.show(self.breaker, now)
        for variant in self._rotation.variants:
            variant.breaker.tick(now)
            if self._rotation.unasked(variant):
                variant.breaker.refuses(now)  # its wait ends here, or it would seem open for as long as others serve
            variant.breaker_cells.show(variant.breaker, now)
