"""Why an expression came out as it did, in one line with the numbers."""

import math

from sloctl.policy.expression import Evaluation, Expression, Trace, closure
from sloctl.policy.facts import NAN, Args, Value
from sloctl.policy.syntax import COMPARISONS, Binary, Call, Literal, Node, unparse


def number(value: Value | None) -> str:
    """A value for people: three digits, whole numbers in full, NaN as 'no data'."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "unknown"}[value]
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "no data"
    if abs(value) >= 100 and not math.isinf(value):
        return f"{value:.0f}"
    return f"{value:.3g}"


def explain(expression: Expression, evaluation: Evaluation) -> str:
    """The comparisons that made the value, such as `queue_length = 40 > 32 && gpu_throttled`."""
    return _explain(expression.root, evaluation.facts)


def _explain(node: Node, facts: Trace) -> str:
    if isinstance(node, Binary) and node.operator in {"&&", "||"}:
        value, decisive = value_of(node, facts), node.operator == "||"
        if value is not decisive:
            return f"{_side(node.left, facts)} {node.operator} {_side(node.right, facts)}"
        left = value_of(node.left, facts) is decisive
        return _explain(node.left if left else node.right, facts)
    if isinstance(node, Binary) and node.operator in COMPARISONS:
        return f"{_operand(node.left, facts)} {node.operator} {_operand(node.right, facts)}"
    if isinstance(node, Call):
        return _operand(node, facts)
    return unparse(node)


def _side(node: Node, facts: Trace) -> str:
    text = _explain(node, facts)
    return f"({text})" if isinstance(node, Binary) and node.operator in {"&&", "||"} else text


def _operand(node: Node, facts: Trace) -> str:
    if isinstance(node, Literal):
        return unparse(node)
    return f"{unparse(node)} = {number(value_of(node, facts))}"


def value_of(node: Node, facts: Trace) -> Value | None:
    """Evaluates a part anew from the facts that were recorded."""

    def get(name: str, args: Args) -> Value:
        return facts.get(unparse(Call(name, tuple(Literal(arg, 0) for arg in args), 0)), NAN)

    found: Value | None = closure(node)(get, {})
    return found
