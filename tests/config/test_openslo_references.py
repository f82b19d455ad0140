"""OpenSLO documents that name each other, over several files."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sloctl.config.documents import load_bundle
from sloctl.config.problems import Code
from sloctl.config.project import examine, load_project
from sloctl.slo.calendars import Calendar
from sloctl.slo.objective import Ratio, Slices
from sloctl.slo.windows import Alarm

SHARED = (Path(__file__).parents[2] / "rules/slo/shared.yaml").read_text()


def test_the_sample_is_put_together_from_all_its_documents(tmp_path: Path) -> None:
    for number, text in enumerate(SHARED.split("---\n")):
        (tmp_path / f"{number}.yaml").write_text(text)
    bundle = load_bundle(sorted(tmp_path.glob("*.yaml"), reverse=True))
    assert bundle.problems == ()
    (objective,) = bundle.objectives
    assert (objective.name, objective.service) == ("digits-month", "digits")
    assert isinstance(objective.indicator, Ratio)
    assert objective.indicator.bad is not None
    assert objective.slices == Slices(60, 0.99)
    assert objective.calendar == Calendar(1, "M", datetime(2026, 1, 1), "Europe/Berlin")
    alarm = Alarm("digits-month-page", "page", 10, 3600, 3600, after=300, at_least=True, notify=("on-call",))
    assert objective.alarms == (alarm,)


@pytest.mark.parametrize(
    ("old", "new", "at", "code", "message"),
    [
        pytest.param(
            "indicatorRef: digits-success",
            "indicatorRef: digits-succes",
            "",
            Code.UNKNOWN_REFERENCE,
            'there is no SLI "digits-succes"; did you mean "digits-success"?',
            id="an indicator",
        ),
        pytest.param(
            "conditionRef: burns-fast",
            "conditionRef: burns",
            "",
            Code.UNKNOWN_REFERENCE,
            'no AlertCondition "burns"',
            id="a condition of a policy",
        ),
        pytest.param(
            "targetRef: on-call",
            "targetRef: off-call",
            "",
            Code.UNKNOWN_REFERENCE,
            'no AlertNotificationTarget "off-call"',
            id="a target of a policy",
        ),
        pytest.param(
            "alertPolicyRef: digits-month-page",
            "alertPolicyRef: other",
            "",
            Code.UNKNOWN_REFERENCE,
            'no AlertPolicy "other"',
            id="a policy",
        ),
        pytest.param(
            "metadata: {name: daemon}",
            "metadata: {name: demon}",
            "metricSourceRef: daemon",
            Code.UNKNOWN_REFERENCE,
            'no DataSource "daemon"',
            id="a source of an indicator",
        ),
        pytest.param(
            "service: digits\n",
            "service: digit\n",
            "service: digit",
            Code.UNKNOWN_REFERENCE,
            'no Service "digit"',
            id="a service",
        ),
        pytest.param(
            "outcome: error}",
            "outcome: eror}",
            "",
            Code.INVALID_SLO,
            "outcome is never 'eror'",
            id="what an indicator measures, at the indicator",
        ),
        pytest.param("op: gte", "op: lte", "", Code.INVALID_VALUE, "would alert while", id="an alert on not burning"),
        pytest.param(
            "lookbackWindow: 1h", "lookbackWindow: 1M", "", Code.INVALID_VALUE, "calendar period", id="m against M"
        ),
        pytest.param(
            "alertWhenBreaching: true",
            "alertWhenResolved: true",
            "",
            Code.INVALID_VALUE,
            "send_resolved",
            id="what an Alertmanager does",
        ),
        pytest.param(
            "threshold: 10",
            "threshold: 201",
            "target: 0.995",
            Code.INVALID_SLO,
            "can never fire",
            id="an alert that cannot fire",
        ),
        pytest.param(
            "spec: {target: pager}",
            "spec: {}",
            "",
            Code.MISSING_FIELD,
            'missing field "target"',
            id="a target of nobody",
        ),
        pytest.param("type: sloctl", "type: Datadog", "", Code.INVALID_VALUE, "Datadog", id="another source"),
        pytest.param("lookbackWindow: 1h", "lookback: 1h", "", Code.UNKNOWN_FIELD, "lookback", id="an unknown field"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(
    tmp_path: Path, old: str, new: str, at: str, code: Code, message: str
) -> None:
    assert old in SHARED
    text = SHARED.replace(old, new, 1)
    (tmp_path / "slo.yaml").write_text(text)
    place = text[: text.index(at or new)].count("\n") + 1
    problems = load_bundle([tmp_path / "slo.yaml"]).problems
    found = [(problem.code, problem.line, problem.message) for problem in problems]
    assert any((c, line) == (code, place) and message in what for c, line, what in found), found


def test_two_documents_of_a_kind_and_name_are_told(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(f"{SHARED}---\n{SHARED}")
    found = [p for p in load_bundle([tmp_path / "slo.yaml"]).problems if p.code is Code.DUPLICATE_NAME]
    assert len(found) == 7


def test_a_daemon_takes_the_sample_and_no_queries_of_a_prometheus(project: Any) -> None:
    project.write("slos/shared.yaml", SHARED)
    assert [o.name for o in load_project(project.daemon).bundle.objectives] == ["digits-latency", "digits-month"]
    source = "{rawType: success, raw: {metricSource: {type: Prometheus, spec: {query: 'x[{{.window}}]'}}}}"
    start = project.slo.read_text()
    head, rest = start.split("    spec:\n      thresholdMetric:")
    tail = rest[rest.index("  timeWindow:") :].replace("op: lte, value: 0.0123, ", "")
    project.slo.write_text(f"{head}    spec:\n      ratioMetric: {source}\n{tail}")
    (problem,) = examine(project.daemon)[2]
    assert (problem.code, problem.path, problem.line) == (Code.PROMETHEUS_SOURCE, project.slo, 1)
