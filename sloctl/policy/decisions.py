"""What goes into and comes out of a policy step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sloctl.policy.facts import Facts, Value


@dataclass(frozen=True, slots=True)
class State:
    """What is in force: the control word's variant and shares (highest class first), the breaker's state.

    `tiers` are variants of classes that have one beside the model's.
    """

    variant: str
    admit: tuple[float, ...]
    breaker: str
    tiers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Directive:
    """What shall be in force. `breaker` is a command to carry out once, or None.

    Commands: trip, halfOpen, close (rules and overrides), force_open, disable, metrics_only (overrides).
    """

    variant: str
    admit: tuple[float, ...]
    breaker: str | None = None
    tiers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """A change, or a refusal to change, with the facts that led to it. `at` is in the clock of `now`.

    `context` is what an account of it needs besides: the rule as it stood, and what the arbiter weighed.
    """

    policy: str
    model: str
    rule: str
    action: str
    before: str
    after: str
    reason: str
    facts: Mapping[str, Value]
    dry_run: bool
    at: float
    context: Mapping[str, Value] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Override:
    """A state set by hand until `expires_at` (in the clock of `now`).

    `value` is a variant, a breaker command (force_open, disable, metrics_only, close, trip), or shares or variants by
    class; classes that an override does not name stay with the rules.
    """

    model: str
    kind: Literal["variant", "tiers", "admit", "breaker"]
    value: str | Mapping[str, float] | Mapping[str, str]
    expires_at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a step."""

    directive: Directive
    decisions: tuple[Decision, ...]


@dataclass(slots=True)
class Tick:
    """One step in the making: the time, the facts as seen in it, and the decisions so far."""

    policy: str
    model: str
    now: float
    facts: Facts
    dry_run: bool
    decisions: list[Decision] = field(default_factory=list)

    def number(self, name: str, *args: float | str) -> float:
        """A numeric fact."""
        return float(self.facts.get(name, args))

    def decide(
        self,
        rule: str,
        action: str,
        change: tuple[str, str],
        reason: str,
        facts: Mapping[str, Value] | None = None,
        *,
        dry_run: bool | None = None,
        context: Mapping[str, Value] | None = None,
    ) -> None:
        """Records a decision; `change` is what was in force before and is after."""
        before, after = change
        dry = self.dry_run if dry_run is None else dry_run
        self.decisions.append(
            Decision(
                policy=self.policy,
                model=self.model,
                rule=rule,
                action=action,
                before=before,
                after=after,
                reason=reason,
                facts=dict(facts or {}),
                dry_run=dry,
                at=self.now,
                context=dict(context or {}),
            )
        )
