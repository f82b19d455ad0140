"""What would have prevented a decision: tried against the very expression, and said with its place."""

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sloctl.policy.account import preventions, weighed
from sloctl.policy.counterfactual import preventing
from sloctl.policy.decisions import Decision, State
from sloctl.policy.document import PolicyDocument
from sloctl.policy.engine import PolicyEngine
from sloctl.policy.facts import StaticFacts, Value, Vocabulary

VOCABULARY = Vocabulary(("slo",), {"m": ("fp32", "int8")}, ("high", "low"))
PLANNED: dict[str, Value] = {
    'objective("slo")': 0.25, 'error_budget("slo")': 0.01, 'capacity("fp32")': 500.0, 'capacity("int8")': 1000.0,
    'health_ok("fp32")': True, 'health_ok("int8")': True, 'accuracy("fp32")': 0.98, 'accuracy("int8")': 0.97,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "facts", "alone", "together"),
    [
        ("queue_length > 10", {"queue_length": 40.0}, ["40 in place of 10 in `queue_length > 10`"], []),
        ("10 <= queue_length", {"queue_length": 40.0}, ["41 in place of 10 in `10 <= queue_length`"], []),
        (
            'offered_rows > 0.9 * capacity("fp32")',
            {"offered_rows": 467.0, 'capacity("fp32")': 500.0},
            ['0.94 in place of 0.9 in `offered_rows > 0.9 * capacity("fp32")`'],
            [],
        ),
        (
            "queue_length > 10 && latency(0.99) > 0.2",
            {"queue_length": 40.0, "latency(0.99)": 0.31},
            ["40 in place of 10 in `queue_length > 10`", "0.31 in place of 0.2 in `latency(0.99) > 0.2`"],
            [],
        ),
        (
            "queue_length > 10 || latency(0.99) > 0.2",
            {"queue_length": 40.0, "latency(0.99)": 0.31},
            [],
            ["40 in place of 10 in `queue_length > 10`", "0.31 in place of 0.2 in `latency(0.99) > 0.2`"],
        ),
        ("!(queue_length < 10)", {"queue_length": 40.0}, ["41 in place of 10 in `queue_length < 10`"], []),
        (
            "!gpu_throttled && queue_length > 10",
            {"gpu_throttled": False, "queue_length": 40.0},
            ["40 in place of 10 in `queue_length > 10`"],
            [],
        ),
        ("gpu_throttled", {"gpu_throttled": True}, [], []),
        ("queue_length > 10", {"queue_length": 4.0}, [], []),
    ],
)
def test_the_number_that_decides(text: str, facts: dict[str, Value], alone: list[str], together: list[str]) -> None:
    found = preventing(text, facts)
    assert ([str(change) for change in found[0]], [str(change) for change in found[1]]) == (alone, together)


@given(st.floats(0.01, 1e6), st.floats(0.01, 10), st.floats(0.01, 1e6), st.sampled_from([">", ">=", "<", "<="]))
def test_what_is_named_does_prevent_and_is_near(offered: float, factor: float, capacity: float, operator: str) -> None:
    text = f"offered_rows {operator} {factor!r} * capacity"
    facts = {"offered_rows": offered, "capacity": capacity}
    alone, _ = preventing(text, facts)
    exact = offered / capacity
    assume(alone)
    (change,) = alone
    again = text.replace(repr(factor), repr(change.becomes))
    assert preventing(again, facts) == ([], [])
    assert change.becomes == pytest.approx(exact, rel=0.2, abs=0.2 * abs(exact - factor) + 1e-6)


def decisions(facts: list[dict[str, Value]], **spec: Any) -> list[Decision]:
    head = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}}
    body = {"model": "m", "ladder": ["fp32", "int8"], "cooldown": "10s"} | spec
    engine = PolicyEngine(PolicyDocument.model_validate(head | {"spec": body}), VOCABULARY)
    state, found, now = State("fp32", (1.0, 1.0), "closed"), list[Decision](), 0.0
    for values in facts:
        now += 1.0
        outcome = engine.step(now, StaticFacts(values), state)
        found += outcome.decisions
        state = State(outcome.directive.variant, outcome.directive.admit, "closed", outcome.directive.tiers)
    return found


RULES = [
    {"name": "down", "when": "queue_length > 10", "until": "queue_length < 3", "action": {"precision": "down"}},
    {"name": "down-too", "when": "inflight > 5", "severity": -1, "action": {"precision": "int8"}},
    {"name": "up", "when": "queue_length < 3", "action": {"precision": "up"}},
]


def test_a_rule_s_decision_names_its_threshold_and_what_the_arbiter_weighed() -> None:
    busy, calm = {"queue_length": 40.0, "inflight": 9.0}, {"queue_length": 0.0, "inflight": 0.0}
    down, up = decisions([busy] * 5 + [calm] * 20, rules=RULES, accuracyFloor=None)
    assert weighed(asdict(down)) == [
        "no switch before (dwell 1 s, before a step up 10 s)",
        "0 of at most 12 switches in the last hour",
        "proposed as well: down-too → int8 (severity -1)",
    ]
    assert preventions(asdict(down))[:2] == [
        "in `when` of down: 40 in place of 10 in `queue_length > 10`",
        "`for` of down longer than 0 s, had the condition ended by then",
    ]
    assert "by these alone there would have come in its place: down-too → int8 (severity -1)" in preventions(
        asdict(down)
    )
    said = preventions(asdict(up))
    assert "in `when` of up: 0 in place of 3 in `queue_length < 3`" in said
    assert any(sentence.startswith("cooldown longer than 10 s in place of 10 s") for sentence in said)
    assert "maxSwitchesPerHour of 2 in place of 12" in said, "its last one is kept for a step down"
    course = [busy] * 5 + [calm] * 20
    for most, actions in ((2, ["precision:down", "refused"]), (3, ["precision:down", "precision:up"])):
        taken = decisions(course, rules=RULES, accuracyFloor=None, maxSwitchesPerHour=most)
        assert [decision.action for decision in taken] == actions


def test_a_plan_names_the_margin_and_the_hysteresis() -> None:
    rise = [{**PLANNED, "offered_rate": 300.0}] * 30 + [{**PLANNED, "offered_rate": 450.0}] * 10
    course = rise + [{**PLANNED, "offered_rate": 300.0}] * 40
    down, up = decisions(course, planner={"objective": "slo", "window": "20s"})
    assert preventions(asdict(down))[0] == "planner.margin of at most 0.1 in place of 0.15"
    assert preventions(asdict(up))[0] == "planner.hysteresis above 0.25 in place of 0.15"
    assert "accuracyFloor above 0.97, the accuracy of int8" not in preventions(asdict(up))


def test_a_load_beyond_any_margin_is_said() -> None:
    course = [{**PLANNED, "offered_rate": 300.0}] * 30 + [{**PLANNED, "offered_rate": 800.0}] * 5
    (down,) = decisions(course, planner={"objective": "slo"})
    said = preventions(asdict(down))
    assert said[0].startswith("neither margin nor maxBurn: ")
    assert said[0].endswith(" rows/s are more than fp32 can do at all")
    assert not [sentence for sentence in said if "maxSwitchesPerHour" in sentence], "none had happened yet"


def test_a_plan_for_the_queue_s_sake_names_the_burn() -> None:
    course = [{**PLANNED, 'objective("slo")': 0.02, "offered_rate": 400.0}] * 5
    (down,) = decisions(course, planner={"objective": "slo"})
    said = preventions(asdict(down))[0]
    assert said.startswith("planner.maxBurn of at least ")
    assert said.endswith(" in place of 1")


def test_a_plan_for_slowness_names_the_variant_as_it_was_measured() -> None:
    slow = {'slowdown("fp32")': 2.0}
    course = [{**PLANNED, "offered_rate": 300.0}] * 30 + [{**PLANNED, **slow, "offered_rate": 300.0}] * 60
    (down,) = decisions(course, planner={"objective": "slo"})
    said = preventions(asdict(down))
    (sentence,) = [each for each in said if each.startswith("fp32 as fast as measured, 500 rows/s in place of ")]
    assert float(sentence.rsplit(" ", 1)[1]) < 500


def test_a_plan_for_accuracy_names_that_it_was_its_aim() -> None:
    """fp32 carries the load with a burn below 1, and int8 gives more answers in time than it gets wrong."""
    close = {**PLANNED, 'accuracy("int8")': 0.9799, 'objective("slo")': 0.04, "offered_rate": 400.0}
    (down,) = decisions([close] * 10, planner={"objective": "slo", "maximise": "accuracy"})
    assert preventions(asdict(down))[0] == "planner.maximise left out: fp32 carries the load with 0.15 to spare"
    assert decisions([close] * 10, planner={"objective": "slo"}) == []


TIERED = [{"name": "cheap", "when": "queue_length > 10", "action": {"tiers": {"low": "int8"}}}]


def test_a_tier_s_decision_names_the_floor_above_which_it_had_not_come() -> None:
    """And the floor does: the same facts with that floor are refused."""
    busy = {**PLANNED, "queue_length": 40.0}
    (down,) = decisions([busy] * 3, rules=TIERED, accuracyFloor=0.9)
    assert (down.action, down.after) == ("tier:down", "low: int8")
    assert "accuracyFloor above 0.97, the accuracy of int8" in preventions(asdict(down))
    (refused,) = decisions([busy] * 3, rules=TIERED, accuracyFloor=0.9701)
    assert refused.action == "refused"


@pytest.mark.parametrize("rules", [RULES, TIERED], ids=["the model", "a class"])
def test_what_the_floor_refused_names_the_floor(rules: list[dict[str, Any]]) -> None:
    busy = {**PLANNED, "queue_length": 40.0}
    (refused,) = decisions([busy] * 3, rules=rules, accuracyFloor=0.98)
    assert preventions(asdict(refused)) == [
        "accuracyFloor of at most 0.97 in place of 0.98: int8 would have been let in"
    ]
    (refused,) = decisions([{"queue_length": 40.0}] * 3, rules=rules, accuracyFloor=0.98)
    assert preventions(asdict(refused)) == ["a measured accuracy of int8: without one it counts as below accuracyFloor"]


def test_what_the_limit_of_switches_refused_names_the_limit() -> None:
    rules = [*TIERED, {"name": "down", "when": "inflight > 5", "action": {"precision": "down"}}]
    course: list[dict[str, Value]] = [{"queue_length": 40.0, "inflight": count} for count in [1.0] * 3 + [9.0] * 3]
    found = decisions(course, rules=rules, accuracyFloor=None, maxSwitchesPerHour=1)
    assert [each.action for each in found] == ["tier:down", "refused"]
    assert preventions(asdict(found[1])) == ["maxSwitchesPerHour of at least 2 in place of 1"]
    found = decisions(course, rules=rules, accuracyFloor=None, maxSwitchesPerHour=2)
    assert [each.action for each in found] == ["tier:down", "precision:down"]


@pytest.mark.parametrize("most", [1, 2])
def test_the_limit_that_is_named_lets_a_step_up_pass_and_one_less_does_not(most: int) -> None:
    course = [{"queue_length": 40.0}] * 5 + [{"queue_length": 0.0}] * 20
    refused = decisions(course, rules=RULES, accuracyFloor=None, maxSwitchesPerHour=most)[-1]
    assert preventions(asdict(refused)) == [f"maxSwitchesPerHour of at least 3 in place of {most}"]
    for limit, action in ((2, "refused"), (3, "precision:up")):
        last = decisions(course, rules=RULES, accuracyFloor=None, maxSwitchesPerHour=limit)[-1]
        assert last.action == action


def test_a_decision_for_health_names_the_switch_and_no_number() -> None:
    ill = {'failing("fp32")': True, 'health("fp32")': 3.0, 'health("int8")': 5.0, 'health_ok("int8")': True}
    (down,) = decisions([ill])
    assert preventions(asdict(down)) == [
        "healthFallback: false; no number decides over a variant that fails its health checks"
    ]


def test_what_a_person_did_no_rule_prevents() -> None:
    record = {"rule": "override", "action": "override:variant", "facts": {}, "context": {}}
    assert "set by hand" in preventions(record)[0]
    assert weighed(record) == []


@pytest.mark.parametrize("rule", ["planner", "down"])
def test_a_decision_that_kept_no_context_has_an_account_all_the_same(rule: str) -> None:
    record = {"rule": rule, "action": "precision:down", "before": "fp32", "facts": {}, "context": {}}
    assert preventions(record) == ["no number of the rule decides; the rule itself would have to be another"]
