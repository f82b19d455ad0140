"""Leaves a variant whose health fails for the nearest one that is well, and returns when it is well again."""

from collections.abc import Callable, Sequence

from sloctl.policy.decisions import Tick
from sloctl.policy.document import PolicySpec
from sloctl.policy.explain import number
from sloctl.policy.ladder import Switches
from sloctl.telemetry.catalogue import HEALTH_LEVELS

FALLBACK = "health"  # the rule that its decisions name


class Fallback:
    """The health fallback of one policy. `left` is the variant that was left and the one that stands in for it."""

    def __init__(self, spec: PolicySpec, variants: Sequence[str] | None, switches: Switches) -> None:
        """`variants` are the model's, for a policy without a ladder."""
        self._spec = spec
        self._ladder = tuple(spec.ladder or variants or ())
        self._switches = switches
        self._well_since: float | None = None
        self.left: tuple[str, str] | None = None

    def step(self, tick: Tick, serving: str, *, opposed: Callable[[str], bool]) -> str:
        """The variant that shall serve; `opposed` is whether a rule or the planner speaks against a return to one."""
        if not self._spec.health_fallback or serving not in self._ladder:
            return serving
        if self.left is not None and self.left[1] != serving:
            self.left = self._well_since = None  # a rule or a person has moved on
        if tick.facts.get("failing", (serving,)) is True:
            return self._leave(tick, serving)
        return self._return(tick, serving, opposed)

    def _leave(self, tick: Tick, serving: str) -> str:
        place = self._ladder.index(serving)
        nearest = (*self._ladder[place + 1 :], *reversed(self._ladder[:place]))
        target = next((variant for variant in nearest if self._well(tick, variant)), None)
        if target is None:
            return serving
        stands = tick.number("health", serving)
        at = HEALTH_LEVELS[int(stands)] if stands < len(HEALTH_LEVELS) else HEALTH_LEVELS[-1]
        reason = f"{serving} fails at level {at}; {target} stands on all {len(HEALTH_LEVELS)}"
        facts = {f'health("{variant}")': tick.number("health", variant) for variant in (serving, target)}
        self.left, self._well_since = (self.left[0] if self.left else serving, target), None
        return self._switch(tick, serving, target, reason, facts)

    def _return(self, tick: Tick, serving: str, opposed: Callable[[str], bool]) -> str:
        if self.left is None or not self._well(tick, self.left[0]):
            self._well_since = None
            return serving
        self._well_since = tick.now if self._well_since is None else self._well_since
        well = tick.now - self._well_since
        if min(well, self._switches.quiet(tick.now)) < self._spec.cooldown or opposed(self.left[0]):
            return serving
        target, self.left, self._well_since = self.left[0], None, None
        reason = f"{target} has stood on all {len(HEALTH_LEVELS)} health levels for {number(well)} s"
        return self._switch(tick, serving, target, reason, {f'health("{target}")': tick.number("health", target)})

    def _well(self, tick: Tick, variant: str) -> bool:
        floor = self._spec.accuracy_floor
        accurate = floor is None or tick.number("accuracy", variant) >= floor
        return accurate and tick.facts.get("health_ok", (variant,)) is True

    def _switch(self, tick: Tick, serving: str, target: str, reason: str, facts: dict[str, float]) -> str:
        up = self._ladder.index(target) < self._ladder.index(serving)
        tick.decide(FALLBACK, "precision:up" if up else "precision:down", (serving, target), reason, facts)
        self._switches.note(tick.now, counted=False)
        return target
