"""Policies in the control plane: engines of all models, overrides by hand, and the control words they end in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sloctl.board import Boards, BreakerCommand, ControlWord, Fault
from sloctl.control.facts import LiveFacts
from sloctl.policy.document import PolicyDocument
from sloctl.policy.engine import Decision, Override, PolicyEngine, State
from sloctl.policy.facts import Vocabulary

_COMMANDS = {
    "trip": BreakerCommand.TRIP,
    "halfOpen": BreakerCommand.HALF_OPEN,
    "close": BreakerCommand.CLOSE,
    "force_open": BreakerCommand.FORCE_OPEN,
    "disable": BreakerCommand.DISABLE,
    "metrics_only": BreakerCommand.METRICS_ONLY,
}


def manual_policy(model: str, variants: Sequence[str], fallback: bool = True) -> PolicyDocument:
    """A policy without rules, for a model that has none: it carries overrides and, if so told, the health fallback."""
    return PolicyDocument.model_validate(
        {
            "apiVersion": "sloctl/v1",
            "kind": "Policy",
            "metadata": {"name": f"{model}-manual"},
            "spec": {"model": model, "ladder": list(variants), "healthFallback": fallback, "rules": []},
        }
    )


@dataclass(slots=True)
class _Steering:
    """One model: its policy engine and where its control word lies."""

    engine: PolicyEngine
    variants: tuple[str, ...]
    floor: float | None  # of accuracy

    def index(self, variant: str | None) -> int:
        """Index of a class's variant, -1 where it has none of its own."""
        return -1 if variant is None else self.variants.index(variant)

    def stand_ins(self, facts: LiveFacts) -> int:
        """Bit mask of the variants at or above the accuracy floor."""
        if self.floor is None:
            return -1
        return sum(1 << i for i, variant in enumerate(self.variants) if facts.accuracy(variant) >= self.floor)


class Decider:
    """Steps every model's policy and writes its control word when something changed."""

    def __init__(
        self,
        policies: Sequence[PolicyDocument],
        vocabulary: Vocabulary,
        board: Boards,
        memory: Mapping[str, Any],
        *,
        enabled: bool = True,
    ) -> None:
        """Not `enabled`: decides nothing but what is set by hand."""
        self._board = board
        by_model = {policy.spec.model: policy for policy in policies}
        self._steered: dict[str, _Steering] = {}
        self.policies: list[PolicyDocument] = []  # one for each model
        for model in board.topology.models:
            policy = by_model.get(model.name) or manual_policy(model.name, model.variants, enabled)
            self.policies.append(policy)
            engine = PolicyEngine(policy, vocabulary)
            if remembered := memory.get(model.name):
                engine.restore(remembered)
            self._steered[model.name] = _Steering(engine, model.variants, policy.spec.accuracy_floor)

    def step(self, now: float, model: str, facts: LiveFacts, overrides: Sequence[Override]) -> Sequence[Decision]:
        """One tick of one model: decides, and steers the data plane. Returns what was decided."""
        steering = self._steered[model]
        cell = self._board.control(model)
        word = cell.read()
        serving = steering.variants[word.variant]
        classes = self._board.topology.priorities
        tiers = {name: steering.variants[v] for name, v in zip(classes, word.tiers, strict=True) if v >= 0}
        current = State(variant=serving, admit=word.admit, breaker=facts.breaker(), tiers=tiers)
        outcome = steering.engine.step(now, facts, current, overrides=overrides)
        directive = outcome.directive
        new = ControlWord(
            variant=steering.variants.index(directive.variant),
            limit=word.limit,
            breaker=_COMMANDS[directive.breaker] if directive.breaker else word.breaker,
            breaker_sequence=word.breaker_sequence + (1 if directive.breaker else 0),
            faults=word.faults,
            admit=tuple(directive.admit),
            canary=word.canary,
            stand_ins=steering.stand_ins(facts),
            tiers=tuple(steering.index(directive.tiers.get(name)) for name in classes),
            faulty=word.faulty,
        )
        if new != word:
            cell.write(new)
        return outcome.decisions

    def set_faults(self, model: str, faults: Fault, variant: str | None = None) -> None:
        """Injects faults into a model's engines, or that of one variant alone."""
        cell = self._board.control(model)
        faulty = -1 if variant is None else 1 << self._steered[model].variants.index(variant)
        cell.write(replace(cell.read(), faults=faults, faulty=faulty))

    def memory(self) -> dict[str, Any]:
        """What a new Decider takes up again, by model."""
        return {model: steering.engine.memory() for model, steering in self._steered.items()}

    def active_rules(self) -> list[tuple[str, str, bool]]:
        """(policy, rule, whether it holds) of every rule."""
        return [
            (steering.engine.name, rule, active)
            for steering in self._steered.values()
            for rule, active in steering.engine.active_rules().items()
        ]
