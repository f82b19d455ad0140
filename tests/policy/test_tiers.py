"""Variants of priority classes: rules that name them, the arbiter between them and the model, overrides, bounds."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.policy.decisions import Decision, Override, State
from sloctl.policy.document import PolicyDocument, check
from sloctl.policy.engine import PolicyEngine
from sloctl.policy.facts import StaticFacts, Value, Vocabulary

LADDER = ("fp32", "fp16", "int8")
CLASSES = ("high", "normal", "low")
ACCURACY = {"fp32": 0.99, "fp16": 0.97, "int8": 0.9}
VOCABULARY = Vocabulary((), {"m": LADDER}, CLASSES)
LOW = {"name": "cheap", "when": "inflight > 10", "until": "inflight < 5", "action": {"tiers": {"low": "int8"}}}


def document(*rules: Mapping[str, Any], **spec: Any) -> PolicyDocument:
    head = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}}
    body = {"model": "m", "ladder": LADDER, "cooldown": 10.0, "rules": list(rules)} | spec
    return PolicyDocument.model_validate(head | {"spec": body})


@dataclass
class Plant:
    """Steps the engine every 0.25 s and carries out its directives."""

    engine: PolicyEngine
    now: float = 1000.0
    state: State = field(default_factory=lambda: State("fp32", (1.0, 1.0, 1.0), "closed"))
    overrides: list[Override] = field(default_factory=list)

    def run(self, seconds: float, **facts: Value) -> list[Decision]:
        found = []
        for _ in range(max(round(seconds / 0.25), 1)):
            self.now += 0.25
            named = {key.replace("_of_", '("') + '")' if "_of_" in key else key: v for key, v in facts.items()}
            outcome = self.engine.step(self.now, StaticFacts(named), self.state, overrides=self.overrides)
            said = outcome.directive
            self.state = State(said.variant, said.admit, "closed", said.tiers)
            found += outcome.decisions
        return found


def plant(*rules: Mapping[str, Any], **spec: Any) -> Plant:
    return Plant(PolicyEngine(document(*rules, **spec), VOCABULARY))


def told(decisions: list[Decision]) -> list[tuple[str, str, str, str]]:
    return [(each.rule, each.action, each.before, each.after) for each in decisions]


def test_a_class_has_its_own_variant_while_the_rule_is_active_and_returns_after_the_cooldown() -> None:
    it = plant(LOW)
    assert told(it.run(3, inflight=40)) == [("cheap", "tier:down", "low: fp32", "low: int8")]
    assert (it.state.variant, it.state.tiers) == ("fp32", {"low": "int8"})
    assert it.run(5, inflight=7) == []
    back = it.run(20, inflight=1)
    assert told(back) == [("cheap", "tier:up", "low: int8", "low: fp32")]
    assert back[0].reason == "inflight = 1 < 5"
    assert it.state.tiers == {}


def test_one_change_a_dwell_the_lowest_class_first_and_the_model_last() -> None:
    down = {"name": "down", "when": "inflight > 10", "action": {"precision": "int8"}}
    both = {"name": "both", "when": "inflight > 10", "action": {"tiers": {"normal": "fp16", "low": "int8"}}}
    it = plant(down, both, dwell=1.0)
    found = it.run(4, inflight=40)
    assert [each.after for each in found] == ["low: int8", "normal: fp16", "int8"]
    assert all(b.at - a.at >= 1.0 for a, b in pairwise(found))
    assert found[0].context["others"] == "both → normal: fp16 (severity 0); down → int8 (severity 0)"


def test_the_higher_severity_goes_first_whoever_it_is_for() -> None:
    down = {"name": "down", "when": "inflight > 10", "severity": 5, "action": {"precision": "int8"}}
    assert [each.rule for each in plant(LOW, down).run(3, inflight=40)] == ["down", "cheap"]


def test_of_two_rules_for_a_class_the_higher_severity_counts() -> None:
    fast = {"name": "fast", "when": "inflight > 20", "severity": 1, "action": {"tiers": {"low": "fp16"}}}
    it = plant(LOW, fast)
    assert it.run(1, inflight=40)[0].after == "low: fp16"
    assert it.run(20, inflight=15)[0].after == "low: int8", "the other one is still active"


def test_a_tier_that_the_model_has_anyway_is_held_and_counts_as_no_switch() -> None:
    gold = {"name": "gold", "when": "true", "action": {"tiers": {"high": "fp32"}}}
    down = {"name": "down", "when": "inflight > 10", "action": {"precision": "int8"}}
    it = plant(gold, down, dwell=60.0)
    assert told(it.run(1, inflight=0)) == [("gold", "tier:hold", "high: fp32", "high: fp32")]
    assert told(it.run(1, inflight=40)) == [("down", "precision:down", "fp32", "int8")]
    assert (it.state.variant, it.state.tiers) == ("int8", {"high": "fp32"})


def test_a_tier_below_the_floor_is_refused_once_for_each_class() -> None:
    rule = {"name": "both", "when": "inflight > 10", "action": {"tiers": {"normal": "int8", "low": "int8"}}}
    it = plant(rule, accuracyFloor=0.95)
    found = it.run(10, inflight=40, accuracy_of_int8=0.9)
    assert [(each.action, each.before, each.after) for each in found] == [
        ("refused", "low: fp32", "low: fp32"),
        ("refused", "normal: fp32", "normal: fp32"),
    ]
    assert "the floor is 0.95" in found[0].reason
    assert it.state.tiers == {}


def test_a_tier_whose_variant_fails_is_left_at_once_and_not_taken_while_it_does() -> None:
    it = plant(LOW)
    it.run(1, inflight=40)
    found = it.run(5, inflight=40, failing_of_int8=True)
    assert [(each.rule, each.action) for each in found] == [("health", "tier:end"), ("cheap", "refused")]
    assert it.state.tiers == {}
    assert [each.action for each in it.run(2, inflight=40, failing_of_int8=False)] == ["tier:down"]


def test_a_tier_that_no_rule_names_any_more_ends() -> None:
    it = plant(LOW)
    it.run(1, inflight=40)
    it.engine = PolicyEngine(document(), VOCABULARY)
    assert [each.action for each in it.run(1, inflight=40)] == ["tier:end"]
    assert it.state.tiers == {}


def test_an_override_holds_a_class_until_it_expires_and_then_the_rules_have_it_again() -> None:
    it = plant(LOW)
    it.overrides = [Override("m", "tiers", {"low": "fp16", "normal": "fp16"}, it.now + 5)]
    begun = it.run(4, inflight=40)
    assert [(each.action, each.after) for each in begun] == [("override:tiers", "low=fp16 normal=fp16")]
    assert it.state.tiers == {"low": "fp16", "normal": "fp16"}
    ended = it.run(4, inflight=40)
    assert [each.action for each in ended] == ["override:end", "tier:down"]
    assert it.state.tiers == {"low": "int8"}


@pytest.mark.parametrize("value", [{"low": "int4"}, {"nobody": "int8"}])
def test_an_override_that_names_what_is_not_there_does_nothing(value: dict[str, str]) -> None:
    it = plant()
    it.overrides = [Override("m", "tiers", value, math.inf)]
    assert it.run(1) == []


def test_a_class_override_leaves_the_model_to_the_rules_and_the_other_way_round() -> None:
    down = {"name": "down", "when": "inflight > 10", "action": {"precision": "fp16"}}
    it = plant(LOW, down)
    it.overrides = [Override("m", "variant", "fp32", math.inf)]
    it.run(5, inflight=40)
    assert (it.state.variant, it.state.tiers) == ("fp32", {"low": "int8"})
    it = plant(LOW, down)
    it.overrides = [Override("m", "tiers", {"low": "fp32"}, math.inf)]
    it.run(5, inflight=40)
    assert (it.state.variant, it.state.tiers) == ("fp16", {"low": "fp32"})


def test_a_dry_run_decides_and_leaves_the_classes_as_they_are() -> None:
    it = plant(LOW, dryRun=True)
    found = it.run(3, inflight=40)
    assert [(each.action, each.dry_run) for each in found] == [("tier:down", True)]
    assert it.state.tiers == {}


def test_a_standing_override_survives_a_restart() -> None:
    it = plant()
    it.overrides = [Override("m", "tiers", {"low": "int8"}, it.now + 60)]
    it.run(1)
    memory = json.loads(json.dumps(it.engine.memory()))
    it.engine = PolicyEngine(document(), VOCABULARY)
    it.engine.restore(memory)
    assert it.run(1) == [], "it has begun already"
    it.overrides = []
    assert [each.action for each in it.run(1)] == ["override:end"]
    assert it.state.tiers == {}


COURSES = st.lists(st.tuples(st.sampled_from([0.25, 1.0, 30.0]), st.sampled_from([0.0, 7.0, 15.0, 40.0])), max_size=80)


@settings(deadline=None, max_examples=100)
@given(COURSES, st.integers(1, 6))
def test_no_course_crosses_the_floor_the_dwell_or_the_hourly_limit(
    course: list[tuple[float, float]], most: int
) -> None:
    rules = [
        LOW,
        {"name": "n", "when": "inflight > 20", "severity": 2, "action": {"tiers": {"normal": "fp16", "low": "fp16"}}},
        {"name": "down", "when": "inflight > 10", "until": "inflight < 5", "action": {"precision": "down"}},
        {"name": "up", "when": "inflight < 5", "action": {"precision": "up"}},
    ]
    it = plant(*rules, accuracyFloor=0.95, maxSwitchesPerHour=most, dwell=1.0)
    facts = {f"accuracy_of_{variant}": value for variant, value in ACCURACY.items()}
    found: list[Decision] = []
    for passed, inflight in course:
        it.now += passed - 0.25
        found += it.run(0.25, inflight=inflight, **facts)
        assert all(ACCURACY[variant] >= 0.95 for variant in (it.state.variant, *it.state.tiers.values()))
    moves = [each for each in found if each.action.endswith((":down", ":up"))]
    assert all(b.at - a.at >= 1.0 for a, b in pairwise(moves))
    assert all(sum(a.at <= b.at < a.at + 3600 for b in moves) <= most for a in moves)


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        ({"low": "int4"}, "'int4' is not on the ladder"),
        ({"lo": "int8"}, "unknown priority class 'lo'; did you mean 'low'?"),
        ({"high": "int8", "low": "fp16"}, "never served more accurately than a higher one, which has 'int8'"),
    ],
)
def test_a_mistake_is_told_with_its_place(tiers: dict[str, str], message: str) -> None:
    rule = LOW | {"action": {"tiers": tiers}}
    (problem,) = check(document(rule), VOCABULARY)
    assert message in problem.message
    assert problem.loc[:5] == ("spec", "rules", 0, "action", "tiers")


def test_an_action_is_one_thing() -> None:
    with pytest.raises(ValueError, match="exactly one of precision, tiers, shed and breaker"):
        document(LOW | {"action": {"precision": "down", "tiers": {"low": "int8"}}})
