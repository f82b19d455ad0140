"""Cases on the engine that the daemon runs: evaluator, alert states and policies, with a clock of samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sloctl.cases.counting import Counter, NotCountedError, Table
from sloctl.cases.document import Case, TestSpec
from sloctl.cases.findings import Finding, Question, shown
from sloctl.cases.series import expanded, selector_of
from sloctl.config.base import parse_duration
from sloctl.policy.document import PolicyDocument
from sloctl.policy.engine import PolicyEngine, State
from sloctl.policy.facts import BY_NAME, NAN, Args, Type, Value, Vocabulary, fact_key
from sloctl.slo.alerting import AlertStates
from sloctl.slo.alerting import State as AlertState
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Objective, thresholds
from sloctl.slo.prometheus import BUDGET_LOW, NO_DATA
from sloctl.slo.tiers import TierAlerts
from sloctl.slo.windows import AlertWindow

ENGINE = "in process"
_MOST = 100_000


@dataclass(frozen=True)
class Subject:
    """What is tested."""

    objectives: tuple[Objective, ...]
    windows: tuple[AlertWindow, ...]
    policies: tuple[PolicyDocument, ...]


def answer(case: Case, spec: TestSpec, subject: Subject, asked: Sequence[Question]) -> dict[Question, Finding]:
    """What this engine says to each question."""
    run = _Run(case, spec, subject)
    found: dict[Question, Finding] = {}
    last = round(max((question.at for question in asked), default=0.0) / spec.interval)
    for index in range(last + 1):
        now = run.step(index)
        for question in asked:
            if now <= question.at < now + spec.interval:
                found[question] = run.finding(question)
    return found


class _Run:
    def __init__(self, case: Case, spec: TestSpec, subject: Subject) -> None:
        table: Table = {name: (selector_of(name), expanded(values, _MOST)) for name, values in case.series.items()}
        self._spec, self._subject = spec, subject
        self._left_out: dict[str, str] = {}
        counted, self._counters = [], []
        for objective in subject.objectives:
            try:
                self._counters.append(Counter(objective, table, spec.interval))
                counted.append(objective)
            except NotCountedError as error:
                self._left_out[objective.name] = str(error)
        self._evaluator = Evaluator(counted, subject.windows)
        self._alerts, self._states = TierAlerts(counted, subject.windows, ""), AlertStates()
        self._facts = _Facts(case.facts, self._evaluator)
        self._steered = [_Steered(policy, subject, spec.priorities) for policy in subject.policies]
        self._decided: list[str] = []

    def step(self, index: int) -> float:
        now = index * self._spec.interval
        pairs = np.array([counter.step(index) for counter in self._counters], np.int64).reshape(-1, 2)
        self._evaluator.advance(now, pairs[:, 0], pairs[:, 1])
        self._states.step(now, self._alerts.active(self._evaluator))
        self._facts.index = index
        for steered in self._steered:
            self._decided += steered.step(now, self._facts)
        return now

    def finding(self, question: Question) -> Finding:
        if question.slo in self._left_out:
            return Finding(ENGINE, skipped=self._left_out[question.slo])
        part, _, name = question.what.partition(" ")
        if part == "alerts" and self._left_out:
            return Finding(ENGINE, skipped=next(iter(self._left_out.values())))
        return Finding(ENGINE, self._value(part, name, question.slo))

    def _value(self, part: str, name: str, slo: str) -> float | str | None:
        if part in ("errorRatio", "burnRate"):
            read = self._evaluator.error_ratio if part == "errorRatio" else self._evaluator.burn_rate
            return read(slo, parse_duration(name))
        if part == "budgetRemaining":
            return self._evaluator.budget_remaining(slo)
        if part == "alerts":
            firing = (each.labels for each in self._states.instances() if each.state is AlertState.FIRING)
            burning = (labels for labels in firing if labels["alertname"] not in (NO_DATA, BUDGET_LOW))
            return shown([f"{labels['sloctl_slo']} {labels['sloctl_tier']}" for labels in burning])
        if part == "decisions":
            return "; ".join(self._decided) or "none"
        state = self._steered[0].state
        if part == "tiers":
            return state.tiers.get(name, state.variant)
        return state.variant if part == "precision" else state.admit[self._spec.priorities.index(name)]


class _Steered:
    """One policy and the state that it has brought about; the most accurate variant serves first."""

    def __init__(self, policy: PolicyDocument, subject: Subject, priorities: Sequence[str]) -> None:
        ladder, slos = tuple(policy.spec.ladder), tuple(each.name for each in subject.objectives)
        vocabulary = Vocabulary(slos, {policy.spec.model: ladder}, tuple(priorities))
        self._engine = PolicyEngine(policy, vocabulary)
        self.state = State(ladder[0], (1.0,) * len(priorities), "closed")

    def step(self, now: float, facts: "_Facts") -> list[str]:
        """One tick; what was decided, as `RULE: ACTION`."""
        facts.variant, facts.breaker = self.state.variant, self.state.breaker
        outcome = self._engine.step(now, facts, self.state)
        said = outcome.directive
        breaker = {"trip": "open", "close": "closed", "halfOpen": "half_open"}.get(said.breaker or "")
        self.state = State(said.variant, tuple(said.admit), breaker or self.state.breaker, said.tiers)
        return [f"{decision.rule}: {decision.action}" for decision in outcome.decisions]


class _Facts:
    """Facts of a policy: those of SLOs from the evaluator, what the case gives, and else no data."""

    def __init__(self, given: Mapping[str, str], evaluator: Evaluator) -> None:
        self._given = {fact_key(name): expanded(values, _MOST) for name, values in given.items()}
        self._evaluator = evaluator
        self.index = 0
        self.variant, self.breaker = "", "closed"

    def get(self, name: str, args: Args) -> Value:
        """The value of a fact."""
        values = self._given.get((name, args))
        if values is not None:
            value = values[self.index] if self.index < len(values) else NAN
            return bool(value) if BY_NAME[name].type is Type.BOOL and value == value else value
        read: Any = _OF_SLOS.get(name)
        if read is not None:
            return float(read(self._evaluator, *args))
        breaker = "closed" if args else self.breaker  # a variant's, unless the case gives it
        known: dict[str, Value] = {"variant": self.variant, "breaker": breaker, "data_plane_up": True}
        return known.get(name, NAN)


def _over(read: Any) -> Any:
    def windowed(evaluator: Evaluator, slo: str, window: str) -> float:
        seconds = parse_duration(window)
        return float(read(evaluator, slo, seconds)) if seconds <= evaluator.longest else NAN

    return windowed


_OF_SLOS: Mapping[str, Any] = {
    "burn_rate": _over(Evaluator.burn_rate),
    "slo_error_ratio": _over(Evaluator.error_ratio),
    "events": _over(lambda evaluator, slo, seconds: evaluator.events(slo, seconds)[1]),
    "time_to_exhaustion": _over(Evaluator.time_to_exhaustion),
    "budget_remaining": Evaluator.budget_remaining,
    "objective": lambda evaluator, slo: next(iter(thresholds([evaluator.objective(slo)])), NAN),
    "error_budget": lambda evaluator, slo: evaluator.objective(slo).budget,
}
