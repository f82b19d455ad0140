"""Runs files of test cases on both engines and says what was expected, what was found, and where they differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sloctl.cases import in_process, with_promtool
from sloctl.cases.document import Case, Expectation, TestDocument, TestSpec
from sloctl.cases.findings import Finding, Question, near, questions
from sloctl.cases.in_process import Subject
from sloctl.config.base import format_duration
from sloctl.config.documents import TEST, Files, kind_of, load_bundle
from sloctl.config.messages import validated
from sloctl.config.problems import Code, Problem
from sloctl.config.sources import Document
from sloctl.slo.alarms import alarms_of, lengths_of

_AGREE = 1e-9  # the share by which the engines may differ
Engine = Literal["in-process", "promtool", "both"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One question and what the engines say; `where` is its place as `file:line`."""

    case: str
    where: str
    question: Question
    findings: Sequence[Finding]

    @property
    def answers(self) -> list[Finding]:
        """Of the engines that can say."""
        return [finding for finding in self.findings if not finding.skipped]

    @property
    def holds(self) -> bool:
        """Whether all that can say it agree with what was expected; what nobody can say does not hold."""
        return bool(self.answers) and all(self.question.holds(finding.value) for finding in self.answers)

    @property
    def differ(self) -> bool:
        """Whether the engines found different things."""
        values = [finding.value for finding in self.answers]
        return any(not _same(values[0], value, max(self.question.tolerance, _AGREE)) for value in values[1:])


def _same(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return near(one, other, tolerance)
    return bool(one == other)


def load(paths: Sequence[Path]) -> tuple[list[tuple[Document, TestDocument]], list[Problem]]:
    """The test documents in these files, and what is wrong with them."""
    files = Files.read(paths)
    problems, found = list(files.problems), []
    for document in files.documents:
        if kind_of(document) != TEST:
            expected = "documents of kind Test (sloctl/v1); what they test is named in them"
            problems.append(document.problem((), Code.MISPLACED_DOCUMENT, "no test cases", expected))
            continue
        model, wrong = validated(document, TestDocument)
        problems += wrong
        if model is not None:
            found.append((document, model))
    return found, problems


def subject_of(document: Document, model: TestDocument) -> tuple[Subject | None, list[Problem]]:
    """What a document tests, from the files that it names; None with problems."""
    folder, spec = document.source.path.parent, model.spec
    named = [*spec.slos, *spec.policies, *([spec.windows] if spec.windows else [])]
    bundle = load_bundle([folder / name for name in named])
    subject = Subject(bundle.objectives, bundle.windows, bundle.policies)
    problems = [*bundle.problems, *_unknown(document, model, subject)]
    return (None, problems) if problems else (subject, [])


def _unknown(document: Document, model: TestDocument, subject: Subject) -> Iterator[Problem]:
    for at, case in enumerate(model.spec.tests):
        for index, wanted in enumerate(case.expect):
            for message, expected in _mistakes(wanted, model.spec, subject):
                loc = ("spec", "tests", at, "expect", index)
                yield document.problem(loc, Code.UNKNOWN_REFERENCE, message, expected)


def _mistakes(wanted: Expectation, spec: TestSpec, subject: Subject) -> Iterator[tuple[str, str]]:
    """What is expected of something that there is not."""
    slos = {each.name: each for each in subject.objectives}
    alerts = [alert.slo for alert in wanted.alerts or ()]
    for name in [name for name in (wanted.slo, *alerts) if name is not None and name not in slos]:
        yield f'there is no SLO "{name}"', f"one of {', '.join(sorted(slos))}" if slos else "files of SLOs under slos"
    if wanted.slo in slos:
        objective = slos[wanted.slo]
        kept = [format_duration(each) for each in lengths_of(objective, alarms_of(objective, subject.windows))]
        for window in {**wanted.error_ratio, **wanted.burn_rate}:
            if window not in kept:
                yield f"{objective.name} keeps no window of {window}", f"one of {', '.join(kept)}"
    of_policy = (wanted.precision, wanted.tiers, wanted.admit, wanted.decisions)
    if not subject.policies and any(each is not None for each in of_policy):
        message = "precision, tiers, admit and decisions come of a policy, and none is named"
        yield message, "files of policies under policies"
    for name in (*(wanted.tiers or ()), *(wanted.admit or ())):
        if name not in spec.priorities:
            yield f'there is no priority class "{name}"', f"one of {', '.join(spec.priorities)}"


def run(document: Document, model: TestDocument, subject: Subject, engine: Engine) -> Iterator[Verdict]:
    """The verdicts on all expectations, in the order of the file. Raises PromtoolError."""
    for at, case in enumerate(model.spec.tests):
        asked = [question for index, wanted in enumerate(case.expect) for question in questions(index, wanted)]
        answers = _answers(case, model, subject, asked, engine)
        for question in asked:
            where = document.where(("spec", "tests", at, "expect", question.index))
            yield Verdict(case.name, where, question, [each[question] for each in answers if question in each])


def _answers(
    case: Case, model: TestDocument, subject: Subject, asked: Sequence[Question], engine: Engine
) -> list[Mapping[Question, Finding]]:
    found: list[Mapping[Question, Finding]] = []
    if engine != "promtool":
        found.append(in_process.answer(case, model.spec, subject, asked))
    if engine != "in-process" and subject.objectives:
        found.append(with_promtool.answer(case, model.spec, subject, asked))
    return found
