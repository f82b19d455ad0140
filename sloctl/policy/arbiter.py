"""Rules and the planner propose, the arbiter decides: which variant serves, whom, and what the breaker is told.

Precision, in this order: nothing within `dwell` of the last switch; down before up, then the highest severity,
then the order in the file; a step up only after `cooldown` and while no rule that holds the precision down is
pending; never below the accuracy floor; at most `maxSwitchesPerHour`, whose last one is kept for a step down,
so that a long day of flapping ends in the fast variant and not in the slow one. After a switch every
precision rule's `for` starts anew. A change for one priority class counts as any other; of equals going down the
lowest class goes first and the model last, and back the other way round. A refusal for the floor or the limit is
reported once while its rule is pending; waiting for dwell or cooldown is not a refusal.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sloctl.policy.decisions import Tick
from sloctl.policy.document import PolicySpec
from sloctl.policy.explain import number
from sloctl.policy.expression import Trace
from sloctl.policy.facts import Value
from sloctl.policy.ladder import Ladder, Switches
from sloctl.policy.planner import Planner
from sloctl.policy.rule import Rule
from sloctl.policy.tiers import Named, Tiers

_CLASSES = 1000  # more than there are


class _Proposer(Protocol):
    """A rule or the planner; `refused` is what was already reported as refused."""

    refused: str | None

    @property
    def name(self) -> str: ...
    @property
    def severity(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def facts(self) -> Trace: ...
    @property
    def context(self) -> dict[str, Value]: ...


@dataclass(frozen=True, slots=True)
class Proposal:
    """Somebody wants the variant to change that serves the model, or one class; with `ends`, the class as the model.

    Of equals the lowest `rank` goes first.
    """

    by: _Proposer
    before: str
    target: str
    up: bool
    rank: int = 0
    priority: str = ""
    ends: bool = False

    def named(self, variant: str) -> str:
        """`int8`, or for a class `low: int8`."""
        return f"{self.priority}: {variant}" if self.priority else variant

    @property
    def action(self) -> str:
        """The action that a decision names; a tier of the model's own variant switches nothing yet."""
        if self.before == self.target:
            return "tier:end" if self.ends else "tier:hold"
        return f"{'tier' if self.priority else 'precision'}:{'up' if self.up else 'down'}"


class PrecisionArbiter:
    """Chooses the serving variant, and those of classes that have one of their own."""

    def __init__(
        self,
        spec: PolicySpec,
        rules: Iterable[Rule],
        switches: Switches,
        planner: Planner | None = None,
        tiers: Tiers | None = None,
    ) -> None:
        self._spec = spec
        self._tiers = tiers
        self._planner = planner
        self._ladder = Ladder(tuple(spec.ladder))
        self._switches = switches
        self._rules = [(rule, wish) for rule in rules if (wish := rule.spec.action.precision) is not None]

    def step(self, tick: Tick, serving: str, tiers: Named, held: Collection[str] = ()) -> tuple[str, Named]:
        """The variant that shall serve, and the variants of classes; what is `held` by hand stays as it is.

        `held` holds names of classes, and "" for the model.
        """
        proposals = self._proposals(serving, tiers, held)
        quiet = self._switches.quiet(tick.now)
        if not proposals or quiet < self._spec.dwell:
            return serving, tiers
        settled = quiet >= self._spec.cooldown and not self.held_down(serving)
        for proposal in proposals:
            if proposal.up and not settled:
                continue
            refusal = self._refusal(tick, proposal)
            if refusal is None:
                self._switch(tick, proposal, [other for other in proposals if other is not proposal])
                return _changed(proposal, serving, tiers)
            self._refuse(tick, proposal, refusal)
        return serving, tiers

    def held_down(self, serving: str) -> bool:
        """Whether a pending rule speaks against a step up."""
        return any(rule.pending and self._ladder.holds_down(wish, serving) for rule, wish in self._rules)

    def opposes(self, tick: Tick, serving: str, target: str) -> bool:
        """Whether a return to a variant, after its health or an override, is against a pending rule or the planner."""
        planned = self._planner is not None and self._planner.opposes(tick, serving, target)
        return planned or self.held_down(serving)

    def _proposals(self, serving: str, tiers: Named, held: Collection[str]) -> Sequence[Proposal]:
        wishes: list[tuple[_Proposer, str | None]] = [
            (rule, self._ladder.target(wish, serving)) for rule, wish in self._rules if rule.due and "" not in held
        ]
        if self._planner is not None and "" not in held:
            wishes.append((self._planner, self._planner.target))
        found = [Proposal(by, serving, to, self._ladder.is_up(to, serving)) for by, to in wishes if to is not None]
        if self._tiers is not None:
            found += self._for_classes(self._tiers, serving, tiers, held)
        # The sort is stable: equals stay in the file's order, the planner after the rules.
        return sorted(found, key=lambda proposal: (proposal.up, -proposal.by.severity, proposal.rank))

    def _for_classes(self, wishes: Tiers, serving: str, tiers: Named, held: Collection[str]) -> Iterator[Proposal]:
        for rank, (wish, variant) in enumerate(wishes.changes(tiers, held)):
            before, target = tiers.get(wish.priority, serving), variant or serving
            up = self._ladder.is_up(target, before)
            # Down from the lowest class on and before the model, up the other way round.
            place = _CLASSES - rank if up else rank - _CLASSES
            yield Proposal(wish, before, target, up, place, wish.priority, variant is None)

    def _refusal(self, tick: Tick, proposal: Proposal) -> tuple[str, str] | None:
        """The bound that refuses it, and why in words."""
        floor, most = self._spec.accuracy_floor, self._spec.max_switches_per_hour
        if tick.facts.get("failing", (proposal.target,)) is True:
            return "health", f"{proposal.target} fails its health checks"
        if floor is not None:
            accuracy = tick.number("accuracy", proposal.target)
            if not accuracy >= floor:  # also when it is not known
                return (
                    "accuracyFloor",
                    f"accuracy of {proposal.target} = {number(accuracy)}, the floor is {number(floor)}",
                )
        done = self._switches.in_last_hour(tick.now)
        if done >= most:
            return "maxSwitchesPerHour", f"{done} switches in the last hour, the most allowed"
        if proposal.up and 1 < most == done + 1:
            return "maxSwitchesPerHour", f"the last of {most} switches an hour is kept for a step down"
        return None

    def _refuse(self, tick: Tick, proposal: Proposal, refusal: tuple[str, str]) -> None:
        bound, why = refusal
        key = f"{proposal.target}: {why}"
        if proposal.by.refused != key:
            proposal.by.refused = key
            reason = f"{proposal.named(proposal.target)} refused: {why} ({proposal.by.reason})"
            context = proposal.by.context | self._weighed(tick, proposal, []) | {"refusedBy": bound, "up": proposal.up}
            if (floor := self._spec.accuracy_floor) is not None:
                context["floor"] = floor
            stays = proposal.named(proposal.before)
            tick.decide(proposal.by.name, "refused", (stays, stays), reason, proposal.by.facts, context=context)

    def _switch(self, tick: Tick, proposal: Proposal, others: Sequence[Proposal]) -> None:
        by = proposal.by
        context = by.context | self._weighed(tick, proposal, others)
        change = proposal.named(proposal.before), proposal.named(proposal.target)
        tick.decide(by.name, proposal.action, change, by.reason, by.facts, context=context)
        if proposal.before == proposal.target:
            return
        self._switches.note(tick.now)
        for other, _ in self._rules:
            other.start_over()

    def _weighed(self, tick: Tick, proposal: Proposal, others: Sequence[Proposal]) -> dict[str, Value]:
        """What stands beside a proposal when it is decided on.

        `quiet` is absent before the first switch, `accuracy` where the target's was not measured.
        """
        spec, quiet = self._spec, self._switches.quiet(tick.now)
        names = "; ".join(f"{o.by.name} → {o.named(o.target)} (severity {o.by.severity})" for o in others)
        found: dict[str, Value] = {"dwell": spec.dwell, "cooldown": spec.cooldown, "most": spec.max_switches_per_hour}
        found |= {"switches": self._switches.in_last_hour(tick.now), "others": names, "target": proposal.target}
        if (accuracy := tick.number("accuracy", proposal.target)) == accuracy:
            found["accuracy"] = accuracy
        return found if math.isinf(quiet) else found | {"quiet": quiet}


def _changed(proposal: Proposal, serving: str, tiers: Named) -> tuple[str, Named]:
    if not proposal.priority:
        return proposal.target, tiers
    others = {priority: variant for priority, variant in tiers.items() if priority != proposal.priority}
    return serving, others if proposal.ends else others | {proposal.priority: proposal.target}


_ACTS_ON = {"trip": {"closed", "half_open"}, "halfOpen": {"open"}, "close": {"open", "half_open"}}
_LEADS_TO = {"trip": "open", "halfOpen": "half_open", "close": "closed"}


class BreakerArbiter:
    """Commands the breaker: once, when a rule becomes active; then the breaker runs its own course.

    So a rule whose condition lasts cannot keep the breaker from probing and closing. A breaker that was forced
    open or disabled by hand is left alone.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = [(rule, wish) for rule in rules if (wish := rule.spec.action.breaker) is not None]

    def step(self, tick: Tick, state: str) -> str | None:
        """The command of the highest severity among rules that have just become active, or None."""
        starting = [pair for pair in self._rules if pair[0].started and state in _ACTS_ON[pair[1]]]
        if not starting:
            return None
        rule, command = max(starting, key=lambda pair: pair[0].spec.severity)
        tick.decide(
            rule.name, f"breaker:{command}", (state, _LEADS_TO[command]), rule.reason, rule.facts, context=rule.context
        )
        return command
