"""Which changes of the admitted shares are decisions: those that change something, and of noise none.

- **Start** of a rule is told when it first holds a class below what was told, not when its condition begins: a rule
  whose `admitRate` exceeds the offered load changes nothing yet.
- **Change**: shares follow readings of the load that vary from one to the next. So one is told only once a class has
  stood a tenth off what was told last, always on the same side, for twenty seconds; told is the mean over these. The
  readings cover two seconds, so ten independent ones had to agree; and there are at most three changes a minute.
- **End** is told when a rule that has held something ends, and something that was told is set free by it, now or
  already before.
"""

import operator
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sloctl.policy.decisions import Tick
from sloctl.policy.explain import number
from sloctl.policy.rule import Rule

Shares = tuple[float, ...]
"""Admitted shares by class, the highest class first."""
Active = tuple[Rule, Shares]

_MOVED = 0.1  # by which a share must stand off to be told again
_STOOD = 20.0  # seconds for which it must
_WHOLE = 0.9995  # a share below shows as less than 1


class Course(NamedTuple):
    """Shares in a tick: those in force, those that the rules want, and those from now on, which may rise to them."""

    current: Shares
    wanted: Shares
    shares: Shares


class ShedReport:
    """What was told of one model's shares. Times are those of the ticks."""

    def __init__(self, classes: Sequence[str], restore: float) -> None:
        """`restore` in seconds, as in the policy."""
        self._classes = tuple(classes)
        self._restore = restore
        self._told: Shares | None = None  # None: what was before a restart is not known
        self._idle: set[str] = set()  # rules that have started and held nothing yet
        self._readings: deque[tuple[float, Shares]] = deque()  # since a class stands off

    def step(self, tick: Tick, active: Sequence[Active], ended: Sequence[Rule], course: Course) -> None:
        """A tick, with the active rules and the shares that each wants."""
        before = self._told
        if before is None:
            before = (1.0,) * len(course.wanted) if any(rule.started for rule, _ in active) else course.wanted
        self._told = before
        for rule in ended:
            self._end(tick, rule, course)
        for rule, wanted in active:
            self._start(tick, rule, wanted, before, course)
        if not active:
            self._told = course.wanted
        self._follow(tick, active, course.wanted)

    def _end(self, tick: Tick, rule: Rule, course: Course) -> None:
        told = self._told
        if rule.name not in self._idle and told is not None and told != course.wanted:
            more = f"; shares return within {number(self._restore)} s"
            back = max(map(abs, map(operator.sub, course.wanted, course.current))) < 1 - _WHOLE
            self._tell(tick, rule, "shed:end", (told if back else course.current, course.wanted), course.wanted, more)
        self._idle.discard(rule.name)

    def _start(self, tick: Tick, rule: Rule, wanted: Shares, before: Shares, course: Course) -> None:
        if rule.started:
            self._idle.add(rule.name)
        holds = (want == share < _WHOLE for want, share in zip(wanted, course.wanted, strict=True))
        if rule.name not in self._idle or not any(holds):
            return
        self._idle.remove(rule.name)
        if any(share < was for share, was in zip(course.wanted, before, strict=True)):
            self._tell(tick, rule, "shed:start", (course.current, course.shares), course.wanted)

    def _follow(self, tick: Tick, active: Sequence[Active], wanted: Shares) -> None:
        """Tells of a class that has stood off for long enough."""
        told = self._told or wanted
        sides = _sides(wanted, told)
        if not any(sides) or any(rule.unknown for rule, _ in active):
            self._readings.clear()
            return
        readings = self._readings
        readings.append((tick.now, wanted))
        while len(readings) > 1 and tick.now - readings[1][0] >= _STOOD:
            readings.popleft()
        if tick.now - readings[0][0] < _STOOD:
            return
        seen = [_sides(shares, told) for _, shares in readings]
        moved = [index for index, side in enumerate(sides) if side and all(each[index] == side for each in seen)]
        if moved:
            columns = zip(*(shares for _, shares in readings), strict=True)
            mean = tuple(sum(column) / len(readings) for column in columns)
            binding = min(active, key=lambda pair: pair[1][moved[0]])[0]
            self._tell(tick, binding, "shed:change", (told, mean), mean)

    def _tell(
        self, tick: Tick, rule: Rule, action: str, change: tuple[Shares, Shares], told: Shares, more: str = ""
    ) -> None:
        before, after = (describe(dict(zip(self._classes, shares, strict=True))) for shares in change)
        if before == after:
            return
        tick.decide(rule.name, action, (before, after), rule.reason + more, rule.facts, context=rule.context)
        self._told = told
        self._readings.clear()


def _sides(shares: Shares, told: Shares) -> list[int]:
    """By class, 1 or -1 where it stands off far enough to count, up or down, else 0."""
    moves = [new - old for new, old in zip(shares, told, strict=True)]
    return [(move > _MOVED - 1e-9) - (move < -_MOVED + 1e-9) for move in moves]


def describe(shares: Mapping[str, float | str]) -> str:
    """`high=1 low=0.25`, or variants in the place of shares."""
    return " ".join(f"{name}={number(share)}" for name, share in shares.items())
