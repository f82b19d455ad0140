"""Variants of priority classes: what rules want each class to be served with, beside the variant of the model.

While a rule with `tiers` is active, each class that it names is to have the variant named for it; where several rules
name a class, the highest severity counts, then the order in the file. Once none does, the class follows the model
again. These are wishes: the arbiter makes one change a dwell, of one class or of the model. A variant that fails its
health checks, and a tier that no rule of the policy names (it was reloaded), is left at once.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from sloctl.policy.decisions import Tick
from sloctl.policy.document import PolicySpec
from sloctl.policy.expression import Trace
from sloctl.policy.facts import Value
from sloctl.policy.fallback import FALLBACK
from sloctl.policy.rule import Rule

RULE = "tiers"  # named by the end of a tier that no rule names any more
Named = Mapping[str, str]
"""Variants by class; a class that is not there is served as the model is."""


class Wish:
    """What one rule wants for one class; proposes as the rule does, but is refused on its own.

    Reason, facts and context are those of the rule, and after its end those of its end: the cooldown may make the
    return to the model's variant wait for long.
    """

    def __init__(self, rule: Rule, priority: str, variant: str) -> None:
        self.rule = rule
        self.priority = priority
        self.variant = variant
        self.refused: str | None = None
        self.reason = ""
        self.facts: Trace = {}
        self.context: dict[str, Value] = {}

    def update(self) -> None:
        """Looks at the rule after a tick of it."""
        rule = self.rule
        if not rule.pending:
            self.refused = None
        if rule.active or rule.ended or not self.reason:
            self.reason, self.facts, self.context = rule.reason, rule.facts, rule.context

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.rule.name

    @property
    def severity(self) -> int:
        """The rule's severity."""
        return self.rule.severity


class Tiers:
    """The wishes of one policy."""

    def __init__(self, spec: PolicySpec, rules: Iterable[Rule], classes: Sequence[str]) -> None:
        """`classes` highest first."""
        self._fallback = spec.health_fallback
        self._classes = tuple(classes)
        self._wishes = [
            Wish(rule, priority, variant)
            for rule in rules
            for priority, variant in (rule.spec.action.tiers or {}).items()
        ]
        self._named = frozenset(wish.priority for wish in self._wishes)

    def changes(self, tiers: Named, held: Collection[str]) -> Iterator[tuple[Wish, str | None]]:
        """Wishes that are not in force, lowest class first, each with its variant (None: as the model).

        Classes that are `held` by hand are left alone; so is a return while a rule for that class is pending.
        """
        for wish in self._wishes:
            wish.update()
        for priority in reversed(self._classes):
            wishes = [wish for wish in self._wishes if wish.priority == priority]
            if not wishes or priority in held:
                continue
            active = max((wish for wish in wishes if wish.rule.active), key=lambda w: w.severity, default=None)
            if active is not None and tiers.get(priority) != active.variant:
                yield active, active.variant
            elif active is None and priority in tiers and not any(wish.rule.pending for wish in wishes):
                yield next((wish for wish in wishes if wish.variant == tiers[priority]), wishes[0]), None

    def settle(self, tick: Tick, serving: str, tiers: Named, held: Collection[str]) -> dict[str, str]:
        """The tiers without those that cannot stay."""
        kept = dict(tiers)
        for priority, variant in tiers.items():
            if priority in held:
                continue
            if priority not in self._named:
                rule, reason = RULE, "no rule of the policy names this class any more"
            elif self._fallback and tick.facts.get("failing", (variant,)) is True:
                rule, reason = FALLBACK, f"{variant} fails its health checks"
            else:
                continue
            del kept[priority]
            tick.decide(rule, "tier:end", (f"{priority}: {variant}", f"{priority}: {serving}"), reason)
        return kept
