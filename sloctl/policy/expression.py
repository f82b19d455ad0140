"""Compiled expressions: checked once at load, then evaluated by closures in a few microseconds.

Missing data is a third truth value, *unknown*, as in Kleene's logic (and CEL's absorption of errors): a
comparison with NaN is neither true nor false, `unknown && false` is false, `unknown || true` is true. An
expression whose whole is unknown counts as not holding, and what it would restore is held. So no action ever
follows from the absence of data, not even through `!`. Division by zero is NaN; NaN goes through arithmetic,
min, max and clamp.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sloctl.policy.check import infer
from sloctl.policy.facts import BY_NAME, NAN, Args, Facts, Names, Type, Value
from sloctl.policy.parser import parse
from sloctl.policy.syntax import (
    COMPARISONS,
    Binary,
    Call,
    Conditional,
    ExpressionError,
    Literal,
    Node,
    Unary,
    unparse,
)
from sloctl.policy.units import unit_mistakes

Trace = dict[str, Value]
_Get = Callable[[str, Args], Value]
# Any: the type check has told numbers, strings and booleans apart; None is unknown.
_Run = Callable[[_Get, Trace], Any]

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


class Evaluation(NamedTuple):
    """A value (None: unknown for lack of data) and every fact that was read for it, by its text."""

    value: Value | None
    facts: Trace


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression of one type."""

    text: str
    root: Node
    type: Type
    _run: _Run

    @classmethod
    def compile(cls, text: str, names: Names, expected: Type = Type.BOOL) -> "Expression":
        """Parses and checks. Raises the first ExpressionError; `problems` gives them all."""
        root = parse(text)
        errors = _mistakes(root, names, expected)
        if errors:
            raise errors[0]
        return cls(text, root, expected, closure(root))

    def evaluate(self, facts: Facts) -> Evaluation:
        """The value now. A number is never unknown: it is NaN instead."""
        trace: Trace = {}
        return Evaluation(self._run(facts.get, trace), trace)


def problems(text: str, names: Names, expected: Type = Type.BOOL, unit: str | None = None) -> list[ExpressionError]:
    """Every mistake in an expression (a syntax error stands alone, and units come after types); `unit` is the one that
    the whole must have, if it has any.
    """
    try:
        return _mistakes(parse(text), names, expected, unit)
    except ExpressionError as error:
        return [error]


def _mistakes(root: Node, names: Names, expected: Type, unit: str | None = None) -> list[ExpressionError]:
    found, errors = infer(root, names)
    if found not in {None, expected}:
        errors.append(ExpressionError(f"the expression is a {found}; a {expected} is wanted here", 1))
    return errors or unit_mistakes(root, unit)


def closure(node: Node) -> _Run:
    """The function that evaluates a checked tree."""
    match node:
        case Literal(value=value):
            return lambda _get, _trace: value
        case Call(name=name):
            return _fact(node) if name in BY_NAME else _builtin(name, [closure(arg) for arg in node.args])
        case Unary(operator="!", operand=operand):
            return _not(closure(operand))
        case Unary(operand=operand):
            inner = closure(operand)
            return lambda get, trace: -inner(get, trace)
        case Binary():
            return _binary(node.operator, closure(node.left), closure(node.right))
        case Conditional():
            missing = None if infer(node, {})[0] is not Type.NUMBER else NAN
            return _conditional(closure(node.test), closure(node.then), closure(node.otherwise), missing)


def _fact(node: Call) -> _Run:
    name, key = node.name, unparse(node)
    args = tuple(arg.value for arg in node.args if isinstance(arg, Literal))
    if BY_NAME[name].type is Type.NUMBER:

        def number(get: _Get, trace: Trace) -> Any:
            value = trace[key] = get(name, args)
            return value

        return number
    wanted = bool if BY_NAME[name].type is Type.BOOL else str

    def other(get: _Get, trace: Trace) -> Any:
        value = trace[key] = get(name, args)
        return value if isinstance(value, wanted) else None

    return other


def _not(inner: _Run) -> _Run:
    def run(get: _Get, trace: Trace) -> Any:
        value = inner(get, trace)
        return None if value is None else not value

    return run


def _binary(symbol: str, left: _Run, right: _Run) -> _Run:
    if symbol in {"&&", "||"}:
        return _logical(left, right, decisive=symbol == "||")
    if symbol == "/":
        return _divide(left, right)
    apply = _OPERATORS[symbol]
    if symbol not in COMPARISONS:
        return lambda get, trace: apply(left(get, trace), right(get, trace))

    def compare(get: _Get, trace: Trace) -> Any:
        one, other = left(get, trace), right(get, trace)
        # Only NaN differs from itself.
        if one is None or other is None or one != one or other != other:
            return None
        return apply(one, other)

    return compare


def _logical(left: _Run, right: _Run, *, decisive: bool) -> _Run:
    """Either side alone decides with the `decisive` value; the right one is not read when the left did."""

    def run(get: _Get, trace: Trace) -> Any:
        one = left(get, trace)
        if one is decisive:
            return decisive
        other = right(get, trace)
        if other is decisive:
            return decisive
        return None if one is None or other is None else not decisive

    return run


def _divide(left: _Run, right: _Run) -> _Run:
    def run(get: _Get, trace: Trace) -> float:
        dividend, divisor = left(get, trace), right(get, trace)
        return dividend / divisor if divisor else NAN

    return run


def _conditional(test: _Run, then: _Run, otherwise: _Run, missing: float | None) -> _Run:
    def run(get: _Get, trace: Trace) -> Any:
        decided = test(get, trace)
        if decided is None:
            return missing
        return then(get, trace) if decided else otherwise(get, trace)

    return run


def _builtin(name: str, args: list[_Run]) -> _Run:
    if name == "abs":
        (only,) = args
        return lambda get, trace: abs(only(get, trace))
    functions: dict[str, Callable[..., float]] = {"min": min, "max": max, "clamp": _clamp}
    choose = functions[name]

    def run(get: _Get, trace: Trace) -> float:
        values = [arg(get, trace) for arg in args]
        # min and max alone would make the answer depend on where the NaN stands.
        return NAN if any(value != value for value in values) else choose(*values)

    return run


def _clamp(value: float, least: float, most: float) -> float:
    return max(least, min(value, most))
