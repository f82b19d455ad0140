"""Shares of the priority classes: what each shed rule admits, together the least, and the way back up.

While a rule is active its shares are computed anew every tick and followed at once. When it has ended they
rise in a straight line, from 0 to 1 within `restore`, so that a backlog of clients does not return as one
wave. Where a rule's numbers or its condition are unknown, shares are held.
"""

import math
from collections.abc import Iterable, Sequence

from sloctl.policy.decisions import Tick
from sloctl.policy.document import PolicySpec, Shed
from sloctl.policy.expression import Expression
from sloctl.policy.facts import Names, Type
from sloctl.policy.rule import Rule
from sloctl.policy.shed_report import Course, Shares, ShedReport

_LONGEST_STEP = 1.0  # seconds of rise after a pause, however long it was


def waterfill(rate: float, offered: Sequence[float]) -> Shares:
    """Shares that admit `rate` requests/s, filling the classes from the first (highest) on.

    Σ share·offered = min(rate, Σ offered). A class that offers nothing is admitted while rate is left.
    """
    left, shares = max(rate, 0.0), []
    for load in offered:
        shares.append(min(1.0, left / load) if load > 0 else float(left > 0))
        left = max(left - load, 0.0)
    return tuple(shares)


class Shedder:
    """Combines a policy's shed rules into shares by class, highest class first."""

    def __init__(self, spec: PolicySpec, rules: Iterable[Rule], classes: Sequence[str], names: Names) -> None:
        """Raises ExpressionError for a bad admitRate."""
        self._restore = spec.restore
        self._classes = tuple(classes)
        self._rules = [(rule, shed) for rule in rules if (shed := rule.spec.action.shed) is not None]
        self._rates = {
            rule.name: Expression.compile(shed.admit_rate, names, Type.NUMBER)
            for rule, shed in self._rules
            if isinstance(shed.admit_rate, str)
        }
        self._wanted: dict[str, Shares] = {}  # by active rule, as last known
        self._report = ShedReport(classes, spec.restore)
        self._last: float | None = None
        self._passed = 0.0

    def step(self, tick: Tick, current: Shares) -> Shares:
        """The shares that shall be in force."""
        active = [(rule, self._shares(tick, rule, shed, current)) for rule, shed in self._rules if rule.active]
        self._wanted = {rule.name: shares for rule, shares in active}
        target = tuple(min((shares[index] for _, shares in active), default=1.0) for index in range(len(current)))
        # A class that a rule holds below 1 follows that rule; one that was set free rises gradually.
        risen = self.rise(current)
        shares = tuple(want if want < 1 else up for want, up in zip(target, risen, strict=True))
        ended = [rule for rule, _ in self._rules if rule.ended]
        self._report.step(tick, active, ended, Course(current, target, shares))
        return shares

    def advance(self, now: float) -> None:
        """A tick begins: takes the time that shares may rise by in it."""
        self._passed = 0.0 if self._last is None else min(now - self._last, _LONGEST_STEP)
        self._last = now

    def rise(self, current: Shares) -> Shares:
        """The way back up where no rule sheds."""
        if any(rule.unknown for rule, _ in self._rules):
            return current
        step = self._passed / self._restore if self._restore > 0 else 1.0
        return tuple(min(1.0, have + step) for have in current)

    def _shares(self, tick: Tick, rule: Rule, shed: Shed, current: Shares) -> Shares:
        if shed.admit is not None:
            return tuple(shed.admit.get(name, 1.0) for name in self._classes)
        offered = [tick.number("offered", name) for name in self._classes]
        rate = self._rate(tick, rule, shed)
        if math.isnan(rate) or any(map(math.isnan, offered)):
            return self._wanted.get(rule.name, current)
        return waterfill(rate, offered)

    def _rate(self, tick: Tick, rule: Rule, shed: Shed) -> float:
        if isinstance(shed.admit_rate, float):
            return shed.admit_rate
        value = self._rates[rule.name].evaluate(tick.facts).value
        return value if isinstance(value, float | int) else math.nan
