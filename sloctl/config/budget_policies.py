"""Actions of budget policies (`ServiceLevel.spec.budgetPolicies`): as rules of the policy of their model."""

from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from sloctl.config.checks import Loaded
from sloctl.config.daemon import DaemonConfig
from sloctl.config.messages import suggestion
from sloctl.config.problems import Code, Problem
from sloctl.config.sources import Loc
from sloctl.policy.document import Action, PolicyDocument, RuleSpec
from sloctl.slo.dialects import SloModel, objectives
from sloctl.slo.service_level import BudgetPolicy, ServiceLevel

_MORE = 0.05  # of the budget, so that a step which begins and ends does not flap


def with_budget_rules(
    policies: Iterable[PolicyDocument], slos: Iterable[Loaded[SloModel]]
) -> tuple[PolicyDocument, ...]:
    """The policies with a rule more for each action of a budget policy and each SLO that it is about."""
    rules: dict[str, list[RuleSpec]] = {}
    for document in (each.model for each in slos):
        if isinstance(document, ServiceLevel) and document.spec.model is not None:
            found = [rule for step in document.spec.budget_policies if step.action for rule in _rules(document, step)]
            rules.setdefault(document.spec.model, []).extend(found)
    return tuple(_joined(policy, rules.get(policy.spec.model, [])) for policy in policies)


def _rules(document: ServiceLevel, step: BudgetPolicy) -> Iterator[RuleSpec]:
    for objective in objectives(document):
        left = f'budget_remaining("{objective.name}")'
        yield RuleSpec(
            name=f"budget-{objective.name}-{step.name}",
            when=f"{left} < {step.below:.12g}",
            until=f"{left} > {step.below + _MORE:.12g}",
            action=Action.model_validate(step.action),
        )


def _joined(policy: PolicyDocument, more: Sequence[RuleSpec]) -> PolicyDocument:
    if not more:
        return policy
    return policy.model_copy(update={"spec": policy.spec.model_copy(update={"rules": [*policy.spec.rules, *more]})})


def check_budget_policies(
    slos: Iterable[Loaded[SloModel]], policies: Iterable[Loaded[PolicyDocument]], daemon: DaemonConfig | None
) -> Iterator[Problem]:
    """Actions that are none, or of a model without a policy, a variant beside its ladder or an unknown class."""
    ladders = {policy.model.spec.model: list(policy.model.spec.ladder) for policy in policies if policy.whole}
    classes = daemon.priorities if daemon else None
    for slo in slos:
        for index, step in enumerate(slo.model.spec.budget_policies if isinstance(slo.model, ServiceLevel) else ()):
            if step.action:
                at: Loc = ("spec", "budgetPolicies", index, "action")
                for message, expected in _action_problems(slo.model, step, ladders, classes):
                    yield slo.document.problem(at, Code.INVALID_SLO, message, expected)


def _action_problems(
    document: SloModel, step: BudgetPolicy, ladders: dict[str, list[str]], classes: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    model = document.spec.model if isinstance(document, ServiceLevel) else None
    ladder = ladders.get(model or "")
    if ladder is None:
        yield f"no policy is about model {model!r}, and an action is a rule of one", "a Policy of that model"
        return
    try:
        action = Action.model_validate(step.action)
    except ValidationError as error:
        yield str(error.errors()[0]["msg"]).removeprefix("Value error, "), "an action such as {precision: down}"
        return
    moves = ["down", "up", *ladder]
    if action.precision is not None and action.precision not in moves:
        yield f"unknown variant {action.precision!r}{suggestion(action.precision, moves)}", " or ".join(moves)
    for variant in (action.tiers or {}).values():
        if variant not in ladder:
            yield f"unknown variant {variant!r}{suggestion(variant, ladder)}", " or ".join(ladder)
    named = action.tiers or (action.shed.admit if action.shed else None)
    for name in (named or {}) if classes is not None else ():
        if name not in (classes or ()):
            yield f"unknown priority class {name!r}{suggestion(name, list(classes or ()))}", ", ".join(classes or ())
