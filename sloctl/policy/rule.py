"""One rule at run time: whether its condition holds, since when, and whether the rule is active."""

from sloctl.policy.document import RuleSpec
from sloctl.policy.explain import explain, number
from sloctl.policy.expression import Evaluation, Expression, Trace
from sloctl.policy.facts import Facts, Names, Value


class Rule:
    """`when` must hold without a gap for `for`; then the rule is active until `until` holds.

    Unknown (missing data) breaks the wait of a rule that is not active yet and keeps an active one active.
    """

    def __init__(self, spec: RuleSpec, names: Names) -> None:
        """Raises ExpressionError."""
        self.spec = spec
        self.active = False
        self.since: float | None = None  # `when` has held
        self.started = self.ended = False  # in this tick
        self.unknown = False
        self.refused: str | None = None  # what was already reported as refused
        self._when = Expression.compile(spec.when, names)
        self._until = Expression.compile(spec.until, names) if spec.until is not None else None
        self._basis: tuple[Expression, Evaluation] = (self._when, Evaluation(None, {}))
        self._now = 0.0

    @property
    def name(self) -> str:
        """The rule's name."""
        return self.spec.name

    @property
    def severity(self) -> int:
        """The rule's severity."""
        return self.spec.severity

    @property
    def pending(self) -> bool:
        """Whether the rule is active or its condition holds at all."""
        return self.active or self.since is not None

    @property
    def due(self) -> bool:
        """Whether the rule is active and its condition itself has held for `for`."""
        return self.active and self._waited()

    @property
    def facts(self) -> Trace:
        """The facts behind the rule's present state."""
        return self._basis[1].facts

    @property
    def context(self) -> dict[str, Value]:
        """The rule as it stands, the expression that made its present state, and for how long `when` has held."""
        spec = self.spec
        found: dict[str, Value] = {"when": spec.when, "for": spec.for_, "severity": spec.severity}
        if spec.until is not None:
            found["until"] = spec.until
        if self.since is not None:
            found["held"] = self._now - self.since
        return found | {"expression": self._basis[0].text}

    @property
    def reason(self) -> str:
        """Why the rule is in its present state, with the numbers."""
        value, text = self._basis[1].value, explain(*self._basis)
        if value is not True:
            return f"{'no data' if value is None else 'no longer' if self.ended else 'not yet'}: {text}"
        if self.since is None or self.spec.for_ == 0 or self._basis[0] is not self._when:
            return text
        return f"{text} for {number(self._now - self.since)} s"

    def update(self, now: float, facts: Facts) -> None:
        """Looks at the facts of a tick."""
        self._now = now
        was = self.active
        held = self._when.evaluate(facts)
        self.unknown = held.value is None
        self._basis = (self._when, held)
        if held.value is not True:
            self.since = None
        elif self.since is None:
            self.since = now
        if not self.active:
            self.active = self._waited()
        elif self._until is not None:
            self._clear(self._until, facts)
        else:
            self.active = held.value is not False
        self.started, self.ended = self.active and not was, was and not self.active
        if not self.pending:
            self.refused = None

    def _clear(self, until: Expression, facts: Facts) -> None:
        cleared = until.evaluate(facts)
        self.unknown = self.unknown or cleared.value is None
        if cleared.value is True:
            self.active, self.since = False, None
        if cleared.value is True or self.since is None:
            self._basis = (until, cleared)

    def _waited(self) -> bool:
        return self.since is not None and self._now - self.since >= self.spec.for_

    def hold(self) -> None:
        """A tick without any data: the wait starts anew, an active rule stays active."""
        self.started = self.ended = False
        self.since = None

    def start_over(self) -> None:
        """The condition must hold for `for` again: what was seen before a switch does not tell of the new variant."""
        if self.since is not None:
            self.since = self._now
