"""One model's policy, stepped once a tick: facts in, a directive and the decisions behind it out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from sloctl.config.base import Model
from sloctl.policy.arbiter import BreakerArbiter, PrecisionArbiter
from sloctl.policy.decisions import Decision, Directive, Outcome, Override, State, Tick
from sloctl.policy.document import PolicyDocument
from sloctl.policy.facts import Facts, MemoFacts, Vocabulary
from sloctl.policy.fallback import Fallback
from sloctl.policy.ladder import Switches
from sloctl.policy.overrides import Overrides, held_by_hand
from sloctl.policy.planner import Planner
from sloctl.policy.rule import Rule
from sloctl.policy.shedding import Shedder
from sloctl.policy.tiers import Named, Tiers

__all__ = ["Decision", "Directive", "Outcome", "Override", "PolicyEngine", "State"]


class _Memory(Model):
    """What survives a restart; ages in seconds before the last step."""

    last_switch: float | None = None
    switches: tuple[float, ...] = ()
    active: tuple[str, ...] = ()
    left: tuple[str, str] | None = None  # for its health, and where to
    overridden: dict[str, tuple[str | dict[str, float | str], str]] = {}  # noqa: RUF012  # pydantic copies defaults


class PolicyEngine:
    """Steps a checked policy. Not thread-safe.

    In a dry run the rules act on a state of their own and decide as they would, with decisions so marked, while
    the directive keeps what is in force (shares that nothing holds any more still return to 1); overrides
    act for real.
    """

    def __init__(self, document: PolicyDocument, vocabulary: Vocabulary) -> None:
        """`vocabulary` must know the priority classes. Raises ExpressionError for what `check` would refuse."""
        if vocabulary.priorities is None:
            raise ValueError("a policy engine wants to know the priority classes")
        spec, names = document.spec, vocabulary.names(document.spec.model)
        variants = (vocabulary.variants or {}).get(spec.model)
        self.name = document.metadata.name
        self._spec = spec
        self._rules = [Rule(rule, names) for rule in spec.rules]
        self._switches = Switches()
        self._planner = Planner(spec.planner, spec.ladder, spec.accuracy_floor) if spec.planner else None
        self._tiers = Tiers(spec, self._rules, vocabulary.priorities)
        self._precision = PrecisionArbiter(spec, self._rules, self._switches, self._planner, self._tiers)
        self._fallback = Fallback(spec, variants, self._switches)
        self._breaker = BreakerArbiter(self._rules)
        self._shedder = Shedder(spec, self._rules, vocabulary.priorities, names)
        self._overrides = Overrides(spec.model, variants, vocabulary.priorities, self._switches)
        self._imagined: State | None = None  # a dry run's own state
        self._restored: _Memory | None = None
        self._now: float | None = None

    def active_rules(self) -> dict[str, bool]:
        """Whether each rule is active."""
        return {rule.name: rule.active for rule in self._rules}

    def explain(self) -> dict[str, str]:
        """Why each rule, and the planner, is in its present state, with the numbers of the last step."""
        found = {rule.name: rule.reason for rule in self._rules}
        return found | {self._planner.name: self._planner.reason} if self._planner else found

    def step(self, now: float, facts: Facts, current: State, *, overrides: Sequence[Override] = ()) -> Outcome:
        """One tick. `current` is what the control word says, not what the data plane has reached by now."""
        self._now = now
        self._take_up(now)
        tick = Tick(self.name, self._spec.model, now, MemoFacts(facts), self._spec.dry_run)
        live = self._overrides.live(now, overrides)
        self._shedder.advance(now)
        opposed = partial(self._precision.opposes, tick, current.variant)
        state, command = self._overrides.release(tick, live, current, opposed=opposed)
        wanted = self._imagine(tick, state) if self._spec.dry_run else self._decide(tick, state, live)
        if command is not None:
            wanted = replace(wanted, breaker=command)
        directive = self._overrides.apply(tick, live, wanted, current)
        return Outcome(directive, tuple(tick.decisions))

    def _decide(self, tick: Tick, state: State, live: Mapping[str, Override]) -> Directive:
        """What the rules want, given what is in force (or imagined to be)."""
        if tick.facts.get("data_plane_up", ()) is False:
            self._hold()
            return Directive(state.variant, state.admit, tiers=state.tiers)
        for rule in self._rules:
            rule.update(tick.now, tick.facts)
        if self._planner is not None:
            self._planner.update(tick, state.variant)
        variant, tiers = self._serving(tick, state, live)
        return Directive(
            variant,
            self._shedder.step(tick, state.admit),
            None if "breaker" in live else self._breaker.step(tick, state.breaker),
            tiers,
        )

    def _hold(self) -> None:
        for rule in self._rules:
            rule.hold()
        if self._planner is not None:
            self._planner.hold()

    def _serving(self, tick: Tick, state: State, live: Mapping[str, Override]) -> tuple[str, Named]:
        held, serving = held_by_hand(live), state.variant
        tiers = self._tiers.settle(tick, serving, state.tiers, held)
        if "" not in held:
            moved = self._fallback.step(tick, serving, opposed=partial(self._precision.opposes, tick, serving))
            if moved != serving:
                return moved, tiers
        return self._precision.step(tick, serving, tiers, held)

    def _imagine(self, tick: Tick, current: State) -> Directive:
        imagined = self._imagined or current
        wanted = self._decide(tick, replace(imagined, breaker=current.breaker), {})
        self._imagined = State(wanted.variant, wanted.admit, current.breaker, wanted.tiers)
        return Directive(current.variant, self._shedder.rise(current.admit), tiers=current.tiers)

    def memory(self) -> dict[str, Any]:
        """What `restore` takes up again, ready for JSON; ages are relative, so that no clock is carried over."""
        if self._now is None:
            return (self._restored or _Memory()).model_dump(mode="json")
        last, counted = self._switches.ages(self._now)
        active = tuple(rule.name for rule in self._rules if rule.active)
        memory = _Memory.model_construct(
            last_switch=last,
            switches=tuple(counted),
            active=active,
            left=self._fallback.left,
            overridden=self._overrides.standing,
        )
        return memory.model_dump(mode="json")

    def restore(self, memory: Mapping[str, Any]) -> None:
        """Takes up a memory at the next step; the time in between counts for nothing, which errs to caution.

        Rules that no longer exist are left out; a memory that cannot be read is forgotten.
        """
        try:
            self._restored = _Memory.model_validate(memory)
        except ValidationError:
            self._restored = None

    def _take_up(self, now: float) -> None:
        if self._restored is None:
            return
        memory, self._restored = self._restored, None
        self._switches.restore(now, memory.last_switch, memory.switches)
        self._overrides.standing = dict(memory.overridden)
        self._fallback.left = memory.left
        for rule in self._rules:
            rule.active = rule.name in memory.active
