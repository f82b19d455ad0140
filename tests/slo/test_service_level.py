"""The short form: what it means, what it refuses, and its alerts in process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sloctl.config.documents import Bundle, load_bundle
from sloctl.config.problems import Code
from sloctl.config.project import examine
from sloctl.slo.alarms import alarms_of
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Objective, Ratio, Selector, Threshold
from sloctl.slo.vocabulary import indicator
from sloctl.slo.windows import AlertWindow

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "rules/slo/service-level.yaml"
DAY = 86400.0
DAEMON = "apiVersion: sloctl/v1\nkind: Daemon\nslos: [slo.yaml]\nmodels: [{name: digits, variants: [fp32]}]\n"


def sample() -> Any:
    return yaml.load(SAMPLE.read_text(), yaml.CSafeLoader)


def load(folder: Path, document: Any) -> Bundle:
    (folder / "slo.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return load_bundle([folder / "slo.yaml"])


def one(folder: Path, **objective: Any) -> Bundle:
    document = sample()
    document["spec"]["objectives"] = [{"name": "x", **objective}]
    return load(folder, document)


@pytest.fixture
def objectives() -> dict[str, Objective]:
    bundle = load_bundle([SAMPLE])
    assert bundle.problems == ()
    return {objective.name: objective for objective in bundle.objectives}


def test_the_sample_means_what_it_says(objectives: dict[str, Objective]) -> None:
    digits, outcomes = {"model": ("digits",)}, ("ok", "error")
    engine = Selector("sloctl_engine_duration_seconds", {**digits, "variant": ("fp32",)})
    high = {**digits, "priority": ("high",)}
    assert {name: objective.indicator for name, objective in objectives.items() if not name.endswith("normal")} == {
        "digits-quick-engine": Threshold(engine, "lt", 0.05),
        "digits-success-high": Ratio(
            Selector("sloctl_requests_total", {**high, "outcome": outcomes}),
            good=Selector("sloctl_requests_total", {**high, "outcome": ("ok",)}),
        ),
        "digits-batched": Ratio(
            Selector("sloctl_executed_requests_total", digits), good=Selector("sloctl_batched_requests_total", digits)
        ),
        "digits-filled": Threshold(Selector("sloctl_batch_size", digits), "gt", 2),
        "digits-wait-high": Threshold(Selector("sloctl_queue_duration_seconds", high), "lt", 0.02),
        "digits-busy": Threshold(Selector("sloctl_throughput_peak_ratio", digits), "gte", 0.7),
        "digits-memory": Threshold(Selector("sloctl_device_memory_ratio", {}), "lte", 0.85),
        "digits-healthy": Threshold(Selector("sloctl_health_level", {**digits, "level": ("inference",)}), "gte", 1.0),
    }
    assert objectives["digits-success-normal"].minimum_events == 200
    assert (objectives["digits-busy"].period_seconds, objectives["digits-busy"].target) == (DAY, 0.95)


@pytest.mark.parametrize(
    ("sli", "op", "bound"),
    [
        ("batch_size > 4", "gt", 4),
        ("batch_size >= 5", "gt", 4),
        ("batch_size <= 8", "lte", 8),
        ("batch_size < 9", "lte", 8),
    ],
)
def test_sizes_of_batches_are_whole_numbers(tmp_path: Path, sli: str, op: str, bound: int) -> None:
    (objective,) = one(
        tmp_path, sli=sli, target=0.5, alerts={"page": {"disable": True}, "ticket": {"disable": True}}
    ).objectives
    assert objective.indicator == Threshold(Selector("sloctl_batch_size", {"model": ("digits",)}), op, bound)


def test_five_bad_minutes_a_day_are_just_within_the_budget(objectives: dict[str, Objective]) -> None:
    memory = objectives["digits-memory"]
    for bad, left in ((299, 1 / 300), (300, 0), (301, -1 / 300)):
        evaluator = Evaluator([memory], [])
        evaluator.advance(0, np.array([0]), np.array([0]))
        evaluator.advance(DAY, np.array([86400 - bad]), np.array([86400]))
        assert evaluator.budget_remaining("digits-memory") == pytest.approx(left, abs=1e-9)


def test_alerts_by_severity_are_renamed_or_left_out(
    objectives: dict[str, Objective], workbook: tuple[AlertWindow, ...]
) -> None:
    evaluator = Evaluator([objectives["digits-busy"], objectives["digits-batched"]], workbook)
    assert {(alert.slo, alert.severity) for alert in evaluator.alerts()} == {("digits-busy", "ticket")}


def test_with_too_few_events_no_alert_fires(
    objectives: dict[str, Objective], workbook: tuple[AlertWindow, ...]
) -> None:
    guarded = objectives["digits-success-high"]
    for slo, total, fires in (
        (guarded, guarded.minimum_events - 1, False),
        (guarded, guarded.minimum_events, True),
        (replace(guarded, minimum_events=0), 99, True),
    ):
        evaluator = Evaluator([slo], workbook)
        evaluator.advance(0, np.array([0]), np.array([0]))
        evaluator.advance(60, np.array([0]), np.array([total]))
        assert any(alert.firing for alert in evaluator.alerts()) is fires


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        pytest.param({"sli": "engine_tim < 5ms", "target": 0.9}, "no indicator 'engine_tim'", id="an unknown name"),
        pytest.param({"sli": "engine_time < 5", "target": 0.9}, "a duration such as 50ms", id="no unit"),
        pytest.param({"sli": "throughput > 5ms", "target": 0.9}, "a share such as 70%", id="a unit too many"),
        pytest.param({"sli": "engine_time", "target": 0.9}, "without a threshold", id="no threshold"),
        pytest.param({"sli": "success > 1", "target": 0.9}, "counts by itself", id="a threshold of counts"),
        pytest.param({"sli": "throughput > 1.2.3", "target": 0.9}, "is no number", id="no number"),
        pytest.param({"sli": "success; drop", "target": 0.9}, "is no indicator", id="no expression"),
        pytest.param({"sli": "success"}, "expected a target with sli", id="no target"),
        pytest.param({"sli": "success", "target": "most"}, "a share such as 99.9%", id="a target in words"),
        pytest.param({"sli": "success", "target": "1_0%"}, "a share such as 99.9%", id="a target no schema takes"),
        pytest.param({"sli": "success", "target": "100%"}, "less than 100%", id="a target without a budget"),
        pytest.param(
            {"sli": "success", "target": 0.999, "minimumEvents": 10**23}, "at most 1e+09", id="more than 64 bits hold"
        ),
        pytest.param(
            {"sli": "success", "target": 0.999, "alerts": {"page": {"labels": {"__name__": "x"}}}},
            "'__name__' is no name",
            id="a label that Prometheus would refuse",
        ),
        pytest.param({"sli": "batch_size >= 4", "target": 0.9}, "not counted at 3 rows", id="between two buckets"),
        pytest.param({}, "either sli with target, or badTime", id="nothing"),
        pytest.param({"sli": "engine_time < 200s", "target": 0.9999}, "outside the histogram", id="beyond the bounds"),
        pytest.param({"sli": "success", "target": 0.9}, "can never fire", id="a page that cannot fire"),
        pytest.param(
            {"badTime": {"when": "success", "max": "5m", "per": "1d"}}, "no time of its own", id="time of counts"
        ),
        pytest.param(
            {"badTime": {"when": "ready < 1", "max": "1d", "per": "1d"}}, "max is not shorter", id="all of the time"
        ),
        pytest.param(
            {"sli": "throughput > 70%", "target": "99%", "labels": {"variant": "fp32"}},
            "has no label 'variant'",
            id="a label that the metric does not have",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, objective: dict[str, Any], message: str) -> None:
    problems = one(tmp_path, **objective).problems
    assert any(message in f"{p.message} {p.expected}" for p in problems), problems
    assert all(p.field.startswith("spec.objectives[0]") for p in problems)


ONCE = {"from": "2026-12-24T20:00:00Z", "to": "2026-12-25T02:00:00Z"}
POLICY = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: digits}
spec: {model: digits, ladder: [fp32, int8], rules: []}
"""


def test_planned_times_are_left_out_of_every_objective(tmp_path: Path) -> None:
    document = sample()
    document["spec"]["exclusions"] = [ONCE]
    objectives = load(tmp_path, document).objectives
    assert {len(objective.exclusions) for objective in objectives} == {1}
    assert objectives[0].exclusions[0].reason == "planned in digits"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"action": {"precision": "downn"}}, "unknown variant 'downn'; did you mean \"down\""),
        ({"action": {"precision": "down", "breaker": "trip"}}, "an action is exactly one of"),
        ({"action": {"shed": {"admit": {"lowest": 0.5}}}}, ""),
        ({"below": "110%"}, "at most 100%"),
        ({"below": "most"}, "a share such as 99.9%"),
        ({"below": "%"}, "a share such as 99.9%"),
        ({"message": ""}, "message is empty"),
    ],
)
def test_a_budget_policy_that_makes_no_sense_is_refused(tmp_path: Path, step: dict[str, Any], message: str) -> None:
    document = sample()
    document["spec"]["budgetPolicies"] = [{"name": "x", "below": "20%", "message": "careful", **step}]
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "slo.yaml").write_text(yaml.safe_dump(document))
    problems = load_bundle([tmp_path / "slo.yaml", tmp_path / "policy.yaml"]).problems
    if not message:  # only a daemon knows the classes
        assert problems == ()
        return
    (problem,) = problems
    assert message in f"{problem.message} {problem.expected}"
    assert problem.field.startswith("spec.budgetPolicies[0]")


def test_an_action_without_a_policy_of_its_model_is_refused(tmp_path: Path) -> None:
    document = sample()
    document["spec"]["budgetPolicies"][0]["action"] = {"precision": "down"}
    (problem,) = load(tmp_path, document).problems
    assert "no policy is about model 'digits'" in problem.message


def test_an_action_is_a_rule_of_its_models_policy_for_each_objective(tmp_path: Path) -> None:
    document = sample()
    document["spec"]["budgetPolicies"] = [
        {"name": "spent", "below": 0, "message": "give up precision", "action": {"precision": "down"}}
    ]
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "slo.yaml").write_text(yaml.safe_dump(document))
    bundle = load_bundle([tmp_path / "slo.yaml", tmp_path / "policy.yaml"])
    assert bundle.problems == ()
    rules = bundle.policies[0].spec.rules
    assert len(rules) == len(bundle.objectives)
    assert (rules[0].when, rules[0].until) == (
        'budget_remaining("digits-quick-engine") < 0',
        'budget_remaining("digits-quick-engine") > 0.05',
    )


def test_a_tier_may_have_windows_of_its_own(tmp_path: Path, workbook: tuple[AlertWindow, ...]) -> None:
    (busy,) = [each for each in load(tmp_path, sample()).objectives if each.name == "digits-busy"]
    (alarm,) = alarms_of(busy, workbook)
    assert (alarm.severity, alarm.long, alarm.short, alarm.factor) == ("ticket", 6 * 3600, 3600, 2.0)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ({"share": "50%", "long": "2d", "short": "1h"}, "longer than the period"),
        ({"share": "1%", "long": "12h", "short": "1h"}, "within the budget"),
        ({"share": "50%", "long": "1h", "short": "2h"}, "must not be longer"),
    ],
)
def test_windows_that_cannot_alert_are_refused(tmp_path: Path, pair: dict[str, Any], message: str) -> None:
    problems = one(tmp_path, sli="success", target="99%", period="1d", alerts={"page": {"windows": [pair]}}).problems
    assert any(message in problem.message for problem in problems), problems


def _model(document: Any) -> None:
    document["spec"]["model"] = "letters"


def _variant(document: Any) -> None:
    document["spec"]["objectives"][0]["labels"]["variant"] = "int4"


def _priority(document: Any) -> None:
    document["spec"]["objectives"][1]["each"]["priority"] = ["high", "lowest"]


def _tenant(document: Any) -> None:
    document["spec"]["objectives"][0] = {"name": "t", "sli": "tenant_success", "target": 0.99}
    document["spec"]["objectives"][0] |= {"each": {"tenant": ["acme"]}}


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        pytest.param(_tenant, Code.UNKNOWN_TENANT, "spec.objectives[0].each.tenant[0]", id="a tenant"),
        pytest.param(_model, Code.UNKNOWN_MODEL, "spec.model", id="a model"),
        pytest.param(_variant, Code.UNKNOWN_VARIANT, "spec.objectives[0].labels.variant", id="a variant"),
        pytest.param(_priority, Code.UNKNOWN_PRIORITY, "spec.objectives[1].each.priority[1]", id="a class"),
    ],
)
def test_names_are_held_against_the_daemon(
    tmp_path: Path, change: Callable[[Any], None], code: Code, field: str
) -> None:
    document = sample()
    (tmp_path / "d.yaml").write_text(DAEMON)
    load(tmp_path, document)
    assert examine(tmp_path / "d.yaml")[2] == ()
    change(document)
    load(tmp_path, document)
    found = {(p.code, p.field) for p in examine(tmp_path / "d.yaml")[2]}
    assert (code, field) in found


def test_served_counts_the_refused_and_not_what_clients_did_wrong() -> None:
    found = indicator("served", {"model": ("digits",)})
    assert isinstance(found, Ratio)
    assert found.good == Selector("sloctl_requests_total", {"model": ("digits",), "outcome": ("ok",)})
    owed = found.total.labels["outcome"]
    assert {"ok", "error", "shed", "overloaded", "deadline", "breaker_open", "unavailable", "draining"} == set(owed)
