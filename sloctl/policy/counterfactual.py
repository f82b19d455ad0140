"""Which constant of an expression would have to be another for it not to have held, by the facts of that moment.

For each number that stands in a comparison which held (or under a `!` did not), the value is sought at which that
comparison turns, all else as it was (both sides are taken as linear in the number, and the answer is tried); then
whether the whole expression would not have held. Where no single number does that, as in `a || b` with both true, all
of them together are tried.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sloctl.policy.explain import value_of
from sloctl.policy.facts import BY_NAME, NAN, Value
from sloctl.policy.parser import parse
from sloctl.policy.quantity import format_quantity
from sloctl.policy.syntax import COMPARISONS, Binary, Call, Conditional, Literal, Node, Unary, children, unparse

Known = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Change:
    """Another number at a place (`column`, 1-based) of an expression, within a comparison."""

    column: int
    comparison: str
    was: float
    becomes: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self._shown(self.becomes)} in place of {self._shown(self.was)} in `{self.comparison}`"

    def _shown(self, value: float) -> str:
        return format_quantity(value, self.unit) if self.unit else f"{value:.9g}"


def preventing(text: str, facts: Known) -> tuple[list[Change], list[Change]]:
    """Changes of which each alone would have kept an expression from holding, and else those that would together.

    Both are empty where no number decides, or where the expression did not hold. Raises ExpressionError.
    """
    root = parse(text)
    if value_of(root, facts) is not True:
        return [], []
    turned = [change for comparison in _decisive(root, facts, held=True) for change in _turning(comparison, facts)]
    alone = [change for change in turned if value_of(_changed(root, [change]), facts) is not True]
    if alone:
        return alone, []
    together = list({change.comparison: change for change in reversed(turned)}.values())[::-1]
    return [], together if value_of(_changed(root, together), facts) is not True else []


def _decisive(node: Node, facts: Known, *, held: bool) -> Iterator[Binary]:
    """Comparisons of numbers that held, or did not."""
    if isinstance(node, Binary) and node.operator in COMPARISONS:
        if value_of(node, facts) is held:
            yield node
        return
    turns = isinstance(node, Unary) and node.operator == "!"
    for child in children(node):
        yield from _decisive(child, facts, held=held != turns)


def _numbers(node: Node) -> Iterator[Literal]:
    """Numbers of an expression that are not arguments of facts."""
    if isinstance(node, Literal) and isinstance(node.value, float) and not isinstance(node.value, bool):
        yield node
    elif not (isinstance(node, Call) and node.name in BY_NAME):
        for child in children(node):
            yield from _numbers(child)


def _turning(comparison: Binary, facts: Known) -> Iterator[Change]:
    for literal in _numbers(comparison):
        becomes = _root(comparison, literal, facts)
        if becomes is not None:
            yield Change(literal.column, unparse(comparison), float(literal.value), becomes, literal.unit)


def _root(comparison: Binary, literal: Literal, facts: Known) -> float | None:
    """The nearest short number at which a comparison comes out the other way."""

    def gap(candidate: float) -> float:
        tree = _replaced(comparison, {literal.column: candidate})
        if not isinstance(tree, Binary):
            return NAN
        left, right = value_of(tree.left, facts), value_of(tree.right, facts)
        numeric = isinstance(left, float | int) and isinstance(right, float | int)
        return float(left) - float(right) if numeric else NAN  # type: ignore[arg-type]  # both are numbers here

    was = float(literal.value)
    slope = gap(was + 1) - gap(was)
    if not slope or math.isnan(slope):
        return None
    exact = was - gap(was) / slope
    for digits in (2, 3, 4, 6, 9):
        step = 10.0 ** (math.floor(math.log10(abs(exact))) - digits + 1) if exact else 10.0**-digits
        near = round(exact / step)
        for candidate in sorted((near * step, (near - 1) * step, (near + 1) * step), key=lambda x: abs(x - exact)):
            short = float(f"{candidate:.9g}")
            if abs(short - exact) <= 0.1 * abs(exact - was) + step and _turns(comparison, literal, short, facts):
                return short
    return None


def _turns(comparison: Binary, literal: Literal, candidate: float, facts: Known) -> bool:
    turned = value_of(_replaced(comparison, {literal.column: candidate}), facts)
    return turned is not None and turned is not value_of(comparison, facts)


def _changed(root: Node, changes: list[Change]) -> Node:
    return _replaced(root, {change.column: change.becomes for change in changes})


def _replaced(node: Node, numbers: Mapping[int, float]) -> Node:
    """The tree with other numbers at some columns."""
    match node:
        case Literal(column=column):
            return replace(node, value=numbers[column]) if column in numbers else node
        case Call(args=args):
            return replace(node, args=tuple(_replaced(arg, numbers) for arg in args))
        case Unary(operand=operand):
            return replace(node, operand=_replaced(operand, numbers))
        case Binary(left=left, right=right):
            return replace(node, left=_replaced(left, numbers), right=_replaced(right, numbers))
        case Conditional(test=test, then=then, otherwise=otherwise):
            test, then, otherwise = (_replaced(part, numbers) for part in (test, then, otherwise))
            return replace(node, test=test, then=then, otherwise=otherwise)
