"""Cases on Prometheus itself: the rules that `sloctl rules` writes, evaluated by `promtool test rules`.

promtool says what it found only where that is not what was expected; so each question expects what cannot be (a
label that no answer has), and the answers are read from its complaints.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from sloctl.cases.document import Case, TestSpec
from sloctl.cases.findings import Finding, Question, shown
from sloctl.cases.in_process import Subject
from sloctl.config.base import format_duration, parse_duration
from sloctl.slo.objective import Objective
from sloctl.slo.prometheus import BUDGET_LOW, NO_DATA, rule_groups, to_yaml
from sloctl.slo.promql import quote

ENGINE = "promtool"
_TIMEOUT = 300.0  # seconds
_NEVER = '{sloctl_never="1"}'
_ANSWER = re.compile(r'expr: "((?:[^"\\]|\\.)*)", time: (\S+),\s*\n\s*exp: .*\n\s*got: (.*)')
_SAMPLE = re.compile(r"\{([^}]*)\} (\S+?)(?:,|$)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class PromtoolError(Exception):
    """promtool could not be run on a case; the message is what it said."""


def available() -> bool:
    """Whether there is a promtool on the path."""
    return shutil.which("promtool") is not None


def answer(case: Case, spec: TestSpec, subject: Subject, asked: Sequence[Question]) -> dict[Question, Finding]:
    """What Prometheus says to each question. Raises PromtoolError.

    promtool evaluates all groups at one interval, and rules that sum up recorded counts want theirs; so SLOs of
    different intervals are evaluated apart.
    """
    apart: dict[float, list[Objective]] = {}
    for objective in subject.objectives:
        apart.setdefault(_step(objective, subject, spec), []).append(objective)
    found: dict[Question, list[Finding]] = {}
    for step, objectives in apart.items():
        names = {objective.name for objective in objectives}
        own = [question for question in asked if question.slo in ("", *names)]
        for question, finding in _evaluated(case, spec, to_yaml(objectives, subject.windows), step, own).items():
            found.setdefault(question, []).append(finding)
    return {question: _joined(findings) for question, findings in found.items()}


def _step(objective: Objective, subject: Subject, spec: TestSpec) -> float:
    """Seconds between evaluations that the rules of an SLO are meant for."""
    groups = rule_groups([objective], subject.windows)["groups"]
    names = ("sloctl-slo-increases-", "sloctl-slo-slices-")
    return max([spec.interval, *(parse_duration(g["interval"]) for g in groups if g["name"].startswith(names))])


def _evaluated(
    case: Case, spec: TestSpec, rules: str, step: float, asked: Sequence[Question]
) -> dict[Question, Finding]:
    found: dict[Question, Finding] = {}
    expressions: dict[Question, str] = {}
    for question in asked:
        expression = _expression(question)
        if expression is None:
            found[question] = Finding(ENGINE, skipped="Prometheus knows nothing of policies")
        elif question.at % step:
            found[question] = Finding(ENGINE, skipped=f"these rules are evaluated every {format_duration(step)}")
        else:
            expressions[question] = expression
    said = _run(case, spec, rules, step, list(expressions.items()))
    for question, expression in expressions.items():
        found[question] = _read(question, said.get((expression, format_duration(question.at)), "nil"))
    return found


def _joined(findings: Sequence[Finding]) -> Finding:
    """What several evaluations say to a question: of alerts those of all, which only all together can say."""
    skipped = next((finding for finding in findings if finding.skipped), None)
    if skipped is not None or len(findings) == 1:
        return skipped or findings[0]
    names = [name for finding in findings for name in str(finding.value).split(", ") if name != shown([])]
    return Finding(ENGINE, shown(names))


def _expression(question: Question) -> str | None:
    part, _, window = question.what.partition(" ")
    of_slo = f"sloctl_slo={quote(question.slo)}"
    if part in ("errorRatio", "burnRate"):
        name = "slo_error" if part == "errorRatio" else "slo_burn_rate"
        return f"sum(sloctl:{name}:ratio{{{of_slo}, sloctl_window={quote(window)}}})"
    if part == "budgetRemaining":
        return f"sum(sloctl:slo_error_budget_remaining:ratio{{{of_slo}}})"
    if part == "alerts":
        others = f'alertname!~"{NO_DATA}|{BUDGET_LOW}"'
        return f'count by (sloctl_slo, sloctl_tier) (ALERTS{{alertstate="firing", sloctl_slo!="", {others}}})'
    return None


def _run(
    case: Case, spec: TestSpec, rules: str, step: float, asked: Sequence[tuple[Question, str]]
) -> dict[tuple[str, str], str]:
    if not asked:
        return {}
    names = [group["name"] for group in yaml.load(rules, yaml.CSafeLoader)["groups"]]
    test: dict[str, Any] = {
        "interval": format_duration(spec.interval),
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [
            {"expr": text, "eval_time": format_duration(q.at), "exp_samples": [{"labels": _NEVER, "value": 0}]}
            for q, text in asked
        ],
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": format_duration(step), "group_eval_order": names}
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(rules)
        (folder / "test.yaml").write_text(yaml.safe_dump({**document, "tests": [test]}))
        command = ["promtool", "test", "rules", "test.yaml"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PromtoolError(str(error)) from None
    said = done.stdout + done.stderr
    found = {
        (match[1].encode().decode("unicode_escape"), _duration(match[2])): match[3].strip()
        for match in _ANSWER.finditer(said)
    }
    if not found:
        raise PromtoolError(said.strip()[-2000:])
    return found


def _duration(text: str) -> str:
    """A duration of Go's (`1h30m0s`) or Prometheus' as sloctl writes it."""
    return format_duration(parse_duration(text))


def _read(question: Question, said: str) -> Finding:
    samples = [] if said == "nil" else _SAMPLE.findall(said)
    if question.what == "alerts":
        labels = [dict(_LABEL.findall(text)) for text, _ in samples]
        return Finding(ENGINE, shown([f"{each['sloctl_slo']} {each['sloctl_tier']}" for each in labels]))
    return Finding(ENGINE, float(samples[0][1]) if samples else None)
