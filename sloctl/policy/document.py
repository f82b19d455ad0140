"""Policy documents: `apiVersion: sloctl/v1, kind: Policy`, and the checks that need to know what exists."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, StrictFloat, model_validator

from sloctl.config.base import Duration, Metadata, Model
from sloctl.policy.check import suggest
from sloctl.policy.expression import problems
from sloctl.policy.facts import Domain, Names, Type, Vocabulary
from sloctl.policy.units import RATE

PLANNER = "planner"
"""The planner's name in decisions, where a rule's would stand."""

Ratio = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
NotNegative = Annotated[Duration, Field(ge=0)]


class Shed(Model):
    """Refuses part of the load: shares by class, or requests a second filled up from the highest class."""

    admit: dict[str, Ratio] | None = None
    admit_rate: Annotated[StrictFloat, Field(ge=0)] | Text | None = None  # a number or an expression

    @model_validator(mode="after")
    def _one(self) -> "Shed":
        if (self.admit is None) == (self.admit_rate is None):
            raise ValueError("shed wants exactly one of admit (shares by class) and admitRate (requests/s)")
        return self


class Action(Model):
    """What a rule does; exactly one of the four."""

    precision: Text | None = None  # down, up, or a variant
    tiers: Annotated[dict[str, Text], Field(min_length=1)] | None = None  # variants by class, while the rule is active
    shed: Shed | None = None
    breaker: Literal["trip", "halfOpen", "close"] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Action":
        if sum(part is not None for part in (self.precision, self.tiers, self.shed, self.breaker)) != 1:
            raise ValueError("an action is exactly one of precision, tiers, shed and breaker")
        return self


class RuleSpec(Model):
    """A rule is active once `when` has held for `for`, and until `until` holds (without it: while `when` does)."""

    name: Text
    when: Text
    until: Text | None = None
    for_: NotNegative = Field(default=0.0, alias="for")
    severity: int = 0  # the highest goes first
    action: Action

    @property
    def expressions(self) -> tuple[str, ...]:
        """The expressions that it has: `when`, `until`, `admitRate`."""
        rate = self.action.shed.admit_rate if self.action.shed is not None else None
        return tuple(text for text in (self.when, self.until, rate) if isinstance(text, str))


class PlannerSpec(Model):
    """Chooses the precision by measured capacity and offered load (see `sloctl.policy.planner`)."""

    objective: Text  # a latency SLO: its threshold and budget are what the load must be carried within
    margin: Ratio = 0.15  # share of a variant's capacity that is kept free
    hysteresis: Ratio = 0.15  # share that must be free besides before a step up
    window: Annotated[Duration, Field(ge=4)] = 60.0  # how far back load is followed, and its calm before a step up
    horizon: NotNegative = 60.0  # how far ahead a rising trend is followed
    settle: NotNegative = 2.0  # how long a jump lasts at most before a variant that is not the fastest is chosen for it
    max_burn: Annotated[float, Field(gt=0)] = (
        1.0  # expected burn rate of the objective above which a variant is not taken
    )
    maximise: Literal["accuracy"] | None = None  # over all that is offered, in place of asking what carries the load
    severity: int = 0  # among the rules

    @model_validator(mode="after")
    def _room(self) -> "PlannerSpec":
        if self.margin + self.hysteresis >= 1:
            raise ValueError("margin and hysteresis together must leave some of the capacity: less than 1")
        return self


class PolicySpec(Model):
    """The planner and the rules of one model and the bounds that none of them crosses."""

    model: Text
    ladder: tuple[str, ...] = ()  # variants, most accurate first
    accuracy_floor: Ratio | None = None
    dwell: NotNegative = 1.0  # from one switch to the next
    cooldown: NotNegative = 300.0  # from the last switch to a step up
    restore: NotNegative = 5.0  # in which a share returns from 0 to 1 once nothing sheds
    max_switches_per_hour: Annotated[int, Field(ge=1)] = 12
    dry_run: bool = False
    planner: PlannerSpec | None = None
    health_fallback: bool = True  # leave a variant whose health fails
    rules: tuple[RuleSpec, ...] = ()


class PolicyDocument(Model):
    """The whole file."""

    api_version: Literal["sloctl/v1"]
    kind: Literal["Policy"]
    metadata: Metadata
    spec: PolicySpec


class Problem(NamedTuple):
    """A mistake: where in the YAML (camelCase keys and indices), what, and the column (1-based) in the value."""

    loc: tuple[str | int, ...]
    message: str
    column: int | None = None


def check(
    document: PolicyDocument, vocabulary: Vocabulary, accuracies: Mapping[str, float] | None = None
) -> list[Problem]:
    """Everything about a document that names things: expressions, variants, classes, the accuracy floor.

    `accuracies` are measured accuracies by variant; None where they are not known yet (the floor is then not
    checked here, and the engine still refuses to cross it).
    """
    spec, names = document.spec, vocabulary.names(document.spec.model)
    found = [
        *_model(spec, vocabulary),
        *_ladder(spec, names),
        *_floor(spec, accuracies),
        *_planner(spec, names, vocabulary.timed),
        *_maximised(spec, accuracies),
    ]
    counts = Counter(rule.name for rule in spec.rules)
    for index, rule in enumerate(spec.rules):
        here = ("spec", "rules", index)
        if counts[rule.name] > 1:
            found.append(Problem((*here, "name"), f"the rule name {rule.name!r} is used {counts[rule.name]} times"))
        found.extend(Problem((*here, *loc), message, column) for loc, message, column in _rule(rule, spec, names))
    return found


def _model(spec: PolicySpec, vocabulary: Vocabulary) -> Iterator[Problem]:
    if vocabulary.variants is not None and spec.model not in vocabulary.variants:
        more = suggest(spec.model, vocabulary.variants)
        yield Problem(("spec", "model"), f"unknown model {spec.model!r}{more}")


def _ladder(spec: PolicySpec, names: Names) -> Iterator[Problem]:
    known = names.get(Domain.VARIANT)
    for index, variant in enumerate(spec.ladder):
        here = ("spec", "ladder", index)
        if variant in spec.ladder[:index]:
            yield Problem(here, f"variant {variant!r} is on the ladder twice")
        elif known is not None and variant not in known:
            yield Problem(here, f"model {spec.model!r} has no variant {variant!r}{suggest(variant, known)}")
    if spec.ladder and known and known[0] not in spec.ladder:
        yield Problem(("spec", "ladder"), f"{known[0]!r}, which serves at start, is not on the ladder")


def _floor(spec: PolicySpec, accuracies: Mapping[str, float] | None) -> Iterator[Problem]:
    if spec.accuracy_floor is None or accuracies is None:
        return
    here = ("spec", "accuracyFloor")
    measured = {variant: accuracies.get(variant, math.nan) for variant in spec.ladder}
    for variant, accuracy in measured.items():
        if math.isnan(accuracy):
            yield Problem(here, f"no accuracy was measured for {variant!r}, so the floor keeps it out of use")
    if spec.ladder and all(accuracy < spec.accuracy_floor for accuracy in measured.values()):
        best = max(measured.values())
        yield Problem(here, f"no variant on the ladder reaches {spec.accuracy_floor:g}; the best has {best:g}")


def _planner(spec: PolicySpec, names: Names, timed: tuple[str, ...] | None) -> Iterator[Problem]:
    if spec.planner is None:
        return
    known, slo = names.get(Domain.SLO), spec.planner.objective
    if known is not None and slo not in known:
        yield Problem(("spec", "planner", "objective"), f"unknown SLO {slo!r}{suggest(slo, known)}")
    elif timed is not None and slo not in timed:
        message = f"{slo!r} is no SLO over sloctl_request_duration_seconds{suggest(slo, timed)}"
        yield Problem(("spec", "planner", "objective"), message)
    if len(spec.ladder) < 2:
        yield Problem(("spec", "planner"), "a planner needs a ladder of at least two variants")
    for index, rule in enumerate(spec.rules):
        if rule.name == PLANNER:
            yield Problem(("spec", "rules", index, "name"), f"decisions of {PLANNER!r} are the planner's own")


def _maximised(spec: PolicySpec, accuracies: Mapping[str, float] | None) -> Iterator[Problem]:
    if spec.planner is None or spec.planner.maximise is None or accuracies is None:
        return
    for variant in spec.ladder:
        if math.isnan(accuracies.get(variant, math.nan)):
            message = f"no accuracy was measured for {variant!r}, so the planner never chooses it"
            yield Problem(("spec", "planner", "maximise"), message)


def _rule(rule: RuleSpec, spec: PolicySpec, names: Names) -> Iterator[Problem]:
    yield from _expression(("when",), rule.when, names, Type.BOOL)
    if rule.until is not None:
        yield from _expression(("until",), rule.until, names, Type.BOOL)
    if rule.action.precision is not None:
        yield from _precision(rule.action.precision, spec)
    if rule.action.tiers is not None:
        yield from _tiers(rule.action.tiers, spec, names)
    if rule.action.shed is not None:
        yield from _shed(rule.action.shed, names)


def _precision(target: str, spec: PolicySpec) -> Iterator[Problem]:
    here = ("action", "precision")
    if target not in {"down", "up", *spec.ladder}:
        yield Problem(here, f"{target!r} is not on the ladder{suggest(target, ('down', 'up', *spec.ladder))}")
    elif len(spec.ladder) < 2:
        yield Problem(here, "a precision rule needs a ladder of at least two variants")


def _tiers(tiers: Mapping[str, str], spec: PolicySpec, names: Names) -> Iterator[Problem]:
    classes, ladder, most = names.get(Domain.PRIORITY), spec.ladder, 0
    for priority, variant in tiers.items():
        here = ("action", "tiers", priority)
        if classes is not None and priority not in classes:
            yield Problem(here, f"unknown priority class {priority!r}{suggest(priority, classes)}")
        elif variant not in ladder:
            yield Problem(here, f"{variant!r} is not on the ladder{suggest(variant, ladder)}")
    for priority in classes or ():
        place = ladder.index(tiers[priority]) if tiers.get(priority) in ladder else most
        if place < most:
            message = f"a class is never served more accurately than a higher one, which has {ladder[most]!r} here"
            yield Problem(("action", "tiers", priority), message)
        most = max(most, place)


def _shed(shed: Shed, names: Names) -> Iterator[Problem]:
    known = names.get(Domain.PRIORITY)
    for name in shed.admit or ():
        if known is not None and name not in known:
            more = suggest(name, known)
            yield Problem(("action", "shed", "admit", name), f"unknown priority class {name!r}{more}")
    if isinstance(shed.admit_rate, str):
        yield from _expression(("action", "shed", "admitRate"), shed.admit_rate, names, Type.NUMBER, RATE)


def _expression(
    loc: tuple[str, ...], text: str, names: Names, expected: Type, unit: str | None = None
) -> Iterator[Problem]:
    for error in problems(text, names, expected, unit):
        yield Problem(loc, error.message, error.column)
