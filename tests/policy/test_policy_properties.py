"""What holds for every course of the facts: floor, limits, cooldown, no flapping, exact shares."""

import json
import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.policy.decisions import Decision, State
from sloctl.policy.document import PolicyDocument
from sloctl.policy.engine import PolicyEngine
from sloctl.policy.facts import StaticFacts, Vocabulary
from sloctl.policy.shedding import waterfill

LADDER = ("fp32", "tf32", "fp16", "int8")
ACCURACY = {"fp32": 0.996, "tf32": 0.99, "fp16": 0.97, "int8": 0.90}
VOCABULARY = Vocabulary((), {"m": LADDER}, ("high", "low"))
STATIC = {f'accuracy("{variant}")': accuracy for variant, accuracy in ACCURACY.items()}
RULES = [
    {"name": "down", "when": "inflight > 10", "until": "inflight < 5", "action": {"precision": "down"}},
    {"name": "fast", "when": "inflight > 30", "severity": 5, "for": "2s", "action": {"precision": "int8"}},
    {"name": "up", "when": "inflight < 5", "action": {"precision": "up"}},
    {"name": "shed", "when": "inflight > 20", "until": "inflight < 8", "action": {"shed": {"admitRate": "50"}}},
    {"name": "trip", "when": "inflight > 35", "action": {"breaker": "trip"}},
]


def engine_of(rules: list[dict[str, Any]] = RULES, **spec: Any) -> PolicyEngine:
    head = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}}
    body = {"model": "m", "ladder": LADDER, "rules": rules} | spec
    return PolicyEngine(PolicyDocument.model_validate(head | {"spec": body}), VOCABULARY)


def switches(decisions: list[Decision]) -> list[Decision]:
    return [decision for decision in decisions if decision.action.startswith("precision:")]


COURSES = st.lists(
    st.tuples(st.sampled_from([0.25, 1.0, 30.0, 400.0]), st.sampled_from([0.0, 4.0, 7.0, 15.0, 25.0, 40.0, math.nan])),
    max_size=120,
)


@settings(deadline=None, max_examples=200)
@given(COURSES, st.integers(1, 6), st.sampled_from([0.0, 2.0, 300.0]), st.booleans())
def test_no_course_of_the_facts_crosses_a_bound(
    course: list[tuple[float, float]], most: int, cooldown: float, restarts: bool
) -> None:
    spec = {"accuracyFloor": 0.95, "maxSwitchesPerHour": most, "cooldown": cooldown, "dwell": 1.0}
    engine, now = engine_of(**spec), 0.0
    state, decisions = State("fp32", (1.0, 1.0), "closed"), list[Decision]()
    for index, (passed, inflight) in enumerate(course):
        now += passed
        facts = {**STATIC, "inflight": inflight, 'offered("high")': 40.0, 'offered("low")': inflight}
        outcome = engine.step(now, StaticFacts(facts), state)
        directive = outcome.directive
        changed = directive.variant != state.variant
        assert changed == bool(switches(list(outcome.decisions)))
        assert ACCURACY[directive.variant] >= 0.95
        assert all(0.0 <= share <= 1.0 for share in directive.admit)
        if math.isnan(inflight):
            assert (directive.variant, outcome.decisions) == (state.variant, ())
            assert all(new <= old for new, old in zip(directive.admit, state.admit, strict=True))
        decisions += outcome.decisions
        state = State(directive.variant, directive.admit, "closed")
        if restarts and index % 10 == 9:
            memory = json.loads(json.dumps(engine.memory()))
            engine = engine_of(**spec)
            engine.restore(memory)
    moves = switches(decisions)
    for first, second in pairwise(moves):
        assert second.at - first.at >= (1.0 if second.action.endswith("down") else max(1.0, cooldown)) - 1e-9
    for first in moves:
        assert sum(first.at <= move.at < first.at + 3600 for move in moves) <= most


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32))
def test_noise_at_the_upper_level_does_not_flap(seed: int) -> None:
    noise, engine = random.Random(seed), engine_of(RULES[:3:2], cooldown=2.0, maxSwitchesPerHour=1000)
    state, moves = State("fp32", (1.0, 1.0), "closed"), 0
    for tick in range(2000):
        inflight = noise.gauss(10, 1)  # about the level of 10, far from the clearing level of 5
        outcome = engine.step(tick * 0.25, StaticFacts({"inflight": inflight}), state)
        moves += outcome.directive.variant != state.variant
        state = State(outcome.directive.variant, outcome.directive.admit, "closed")
    assert moves <= len(LADDER) - 1  # down the ladder at most, never up again


@pytest.mark.parametrize("cooldown", [2.0, 60.0])
def test_a_clean_step_of_load_gives_exactly_one_switch(cooldown: float) -> None:
    """Load that fp32 cannot carry and tf32 can: one switch, however long it lasts."""
    capacity = {"fp32": 100.0, "tf32": 200.0}
    rules = [
        {
            "name": "down",
            "when": "offered_rows > 0.9 * capacity",
            "until": 'offered_rows < 0.6 * capacity("fp32")',
            "action": {"precision": "down"},
        },
        {"name": "up", "when": 'offered_rows < 0.6 * capacity("fp32")', "action": {"precision": "up"}},
    ]
    engine, state, moves = engine_of(rules, cooldown=cooldown), State("fp32", (1.0, 1.0), "closed"), []
    for tick in range(4000):
        offered = 50.0 if tick < 400 else 150.0
        facts = {"offered_rows": offered, "capacity": capacity[state.variant], 'capacity("fp32")': 100.0}
        outcome = engine.step(tick * 0.25, StaticFacts(facts), state)
        moves += switches(list(outcome.decisions))
        state = State(outcome.directive.variant, outcome.directive.admit, "closed")
    assert [(move.at, move.after) for move in moves] == [(100.0, "tf32")]


@pytest.mark.parametrize("period", [60.0, 120.0, 600.0])
def test_a_square_wave_switches_no_more_than_the_hourly_limit(period: float) -> None:
    engine, state, moves = engine_of(cooldown=60.0, maxSwitchesPerHour=6), State("fp32", (1.0, 1.0), "closed"), []
    for second in range(3 * 3600):
        inflight = 40.0 if second % period < period / 2 else 0.0
        outcome = engine.step(float(second), StaticFacts({"inflight": inflight}), state)
        moves += switches(list(outcome.decisions))
        state = State(outcome.directive.variant, outcome.directive.admit, "closed")
    assert 0 < len(moves) <= 18


RATES = st.floats(0, 1e6, allow_nan=False)


@given(RATES, st.lists(RATES, min_size=1, max_size=8))
def test_waterfill_conserves_the_rate_and_respects_the_order(rate: float, offered: list[float]) -> None:
    shares = waterfill(rate, offered)
    assert all(0.0 <= share <= 1.0 for share in shares)
    admitted = sum(share * load for share, load in zip(shares, offered, strict=True))
    assert admitted == pytest.approx(min(rate, sum(offered)), rel=1e-9, abs=1e-6)
    for index, share in enumerate(shares):
        if share < 1.0:  # nothing lower gets anything while a higher class is not whole
            assert all(lower == 0.0 for lower in shares[index + 1 :])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([0.0, 40.0]), min_size=1, max_size=60), st.sampled_from([1.0, 5.0, 20.0]))
def test_shares_never_rise_faster_than_restore(course: list[float], restore: float) -> None:
    engine, state = engine_of(restore=restore, accuracyFloor=0.99), State("fp32", (1.0, 1.0), "closed")
    for tick, inflight in enumerate(course):
        facts = {**STATIC, "inflight": inflight, 'offered("high")': 60.0, 'offered("low")': 40.0}
        admit = engine.step(tick * 0.25, StaticFacts(facts), state).directive.admit
        rises = [new - old for new, old in zip(admit, state.admit, strict=True)]
        assert max(rises) <= 0.25 / restore + 1e-9
        state = State("fp32", admit, "closed")
