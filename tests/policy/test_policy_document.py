"""Policy documents: what is refused, where, and that the sample to copy is a good one."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from sloctl.policy.document import PolicyDocument, Problem, check
from sloctl.policy.facts import Vocabulary

VOCABULARY = Vocabulary(
    ("digits-latency", "digits-availability"), {"digits": ("fp32", "int8")}, ("high", "normal", "low")
)
ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "rules/policies/precision-and-shed.yaml"
SHIPPED = [*sorted(SAMPLE.parent.glob("*.yaml")), ROOT / "examples/digits/policy.yaml"]


def document(*rules: dict[str, Any], **spec: Any) -> PolicyDocument:
    head = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}}
    body = {"model": "digits", "ladder": ["fp32", "int8"], "rules": list(rules)} | spec
    return PolicyDocument.model_validate(head | {"spec": body})


def rule(action: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "r", "when": "queue_length > 1", "action": action} | more


def test_the_sample_is_valid() -> None:
    sample = PolicyDocument.model_validate(yaml.load(SAMPLE.read_text(), yaml.CSafeLoader))
    assert check(sample, VOCABULARY, {"fp32": 0.996, "int8": 0.994}) == []
    assert [r.name for r in sample.spec.rules][:2] == ["less-precision", "more-precision"]
    assert sample.spec.rules[0].for_ == 0.5


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_is_shipped_leaves_a_failing_variant_to_its_breaker(path: Path) -> None:
    """A rule that trips the model's breaker at an error ratio refuses what the other variant serves."""
    sample = PolicyDocument.model_validate(yaml.load(path.read_text(), yaml.CSafeLoader))
    assert [rule.name for rule in sample.spec.rules if rule.action.breaker is not None] == []


def test_the_planned_sample_is_valid_too() -> None:
    path = SAMPLE.with_name("planner.yaml")
    sample = PolicyDocument.model_validate(yaml.load(path.read_text(), yaml.CSafeLoader))
    assert check(sample, VOCABULARY, {"fp32": 0.996, "int8": 0.994}) == []
    assert sample.spec.planner is not None


@pytest.mark.parametrize(
    ("action", "message"),
    [
        pytest.param({}, "exactly one of precision, tiers, shed and breaker", id="an empty action"),
        pytest.param({"precision": "up", "breaker": "trip"}, "exactly one", id="two actions"),
        pytest.param({"shed": {}}, "exactly one of admit", id="a shed without shares"),
        pytest.param({"shed": {"admit": {"low": 0}, "admitRate": 1}}, "exactly one of admit", id="both sheds"),
        pytest.param({"shed": {"admit": {"low": 1.5}}}, "less than or equal to 1", id="a share above 1"),
        pytest.param({"shed": {"admitRate": -1}}, "greater than or equal to 0", id="a negative rate"),
        pytest.param({"breaker": "open"}, "'trip', 'halfOpen' or 'close'", id="an unknown command"),
    ],
)
def test_actions_that_are_refused(action: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        document(rule(action))


@pytest.mark.parametrize(
    ("made", "loc", "message", "column"),
    [
        pytest.param(
            document(rule({"precision": "down"}, when="queue_lenght > 1")),
            ("spec", "rules", 0, "when"),
            "did you mean 'queue_length'",
            1,
            id="a misspelt fact in when",
        ),
        pytest.param(
            document(rule({"precision": "down"}, until="1")),
            ("spec", "rules", 0, "until"),
            "a boolean is wanted",
            1,
            id="a number as until",
        ),
        pytest.param(
            document(rule({"shed": {"admitRate": '0.9 * capacity("int4")'}})),
            ("spec", "rules", 0, "action", "shed", "admitRate"),
            "unknown variant 'int4'",
            16,
            id="an unknown variant in a rate",
        ),
        pytest.param(
            document(rule({"shed": {"admit": {"lo": 0.5}}})),
            ("spec", "rules", 0, "action", "shed", "admit", "lo"),
            "did you mean 'low'",
            None,
            id="a class that does not exist",
        ),
        pytest.param(
            document(rule({"precision": "int4"})),
            ("spec", "rules", 0, "action", "precision"),
            "not on the ladder",
            None,
            id="a target that is not on the ladder",
        ),
        pytest.param(
            document(rule({"precision": "down"}), ladder=["fp32"]),
            ("spec", "rules", 0, "action", "precision"),
            "at least two variants",
            None,
            id="a ladder of one",
        ),
        pytest.param(
            document(ladder=["fp32", "in8"]),
            ("spec", "ladder", 1),
            "has no variant 'in8'; did you mean 'int8'",
            None,
            id="a ladder that names a missing variant",
        ),
        pytest.param(
            document(ladder=["fp32", "fp32"]), ("spec", "ladder", 1), "twice", None, id="a variant twice on it"
        ),
        pytest.param(
            document(ladder=["int8"]), ("spec", "ladder"), "serves at start", None, id="a ladder without the first"
        ),
        pytest.param(
            document(model="digit", ladder=[]),
            ("spec", "model"),
            "did you mean 'digits'",
            None,
            id="a model that does not exist",
        ),
        pytest.param(
            document(accuracyFloor=0.999),
            ("spec", "accuracyFloor"),
            "no variant on the ladder reaches 0.999; the best has 0.99",
            None,
            id="a floor that nothing reaches",
        ),
    ],
)
def test_names_are_checked(made: PolicyDocument, loc: tuple[str | int, ...], message: str, column: int | None) -> None:
    found = check(made, VOCABULARY, {"fp32": 0.99, "int8": 0.9})
    assert [(problem.loc, problem.column) for problem in found] == [(loc, column)]
    assert message in found[0].message


def test_duplicate_rule_names_are_told_at_each_of_them() -> None:
    found = check(document(rule({"breaker": "trip"}), rule({"breaker": "close"})), VOCABULARY)
    assert found == [Problem(("spec", "rules", index, "name"), "the rule name 'r' is used 2 times") for index in (0, 1)]


def test_a_floor_without_a_measured_accuracy_is_told() -> None:
    (problem,) = check(document(accuracyFloor=0.9), VOCABULARY, {"fp32": 0.99})
    assert "no accuracy was measured for 'int8'" in problem.message


def test_a_whole_number_is_a_rate() -> None:
    made = document(rule({"shed": {"admitRate": 500}}))
    assert made.spec.rules[0].action.shed is not None
    assert made.spec.rules[0].action.shed.admit_rate == 500.0
