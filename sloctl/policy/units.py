"""Units of an expression: what is added or compared must be of one unit. Run once its types are right.

A plain number goes with every unit; one that is written with a unit (`250ms`, `85%`, `2GiB`) only with its own.
Products and quotients have the unit that follows, and one that is none of the facts' own is not held against anything.
Counts (`1`) and ratios are told apart, but both are factors. Rows are no count: a request may have several, so load in
requests (`1/s`) is not held against capacity in rows (`row/s`).
"""

from sloctl.policy.facts import BY_NAME, Type
from sloctl.policy.syntax import COMPARISONS, Binary, Call, Conditional, ExpressionError, Literal, Node, Unary, unparse

RATE = "1/s"
ROWS, ROW_RATE, ROW_TIME = "row", "row/s", "s/row"
SHARES = (
    "slo_error_ratio",
    "budget_remaining",
    "error_ratio",
    "device_memory_ratio",
    "gpu_utilization",
    "error_budget",
    "accuracy",
)
"""Facts that are at most 1."""

_PLAIN, _OPEN = "", "?"  # a number without a unit; a unit that is none of the facts' own
_WORDS = {
    "s": "a time (s)",
    "bytes": "bytes",
    "ratio": "a ratio",
    "1": "a count",
    RATE: "a rate (1/s)",
    ROWS: "rows",
    ROW_RATE: "a rate of rows (row/s)",
    ROW_TIME: "a time a row (s/row)",
    "h": "an hour of the day, a plain number",
    "W": "watts, a plain number",
    "°C": "degrees, a plain number",
}
_FACTORS = ("1", "ratio")
_TIMES = {
    frozenset((RATE, "s")): "1",
    frozenset((RATE, ROWS)): ROW_RATE,
    frozenset((ROW_RATE, "s")): ROWS,
    frozenset((ROW_TIME, ROWS)): "s",
}
_OVER = {
    ("1", "s"): RATE,
    ("1", RATE): "s",
    ("1", ROW_RATE): ROW_TIME,
    (ROWS, "s"): ROW_RATE,
    (ROWS, ROW_RATE): "s",
    (ROW_RATE, RATE): ROWS,
    (ROW_RATE, ROWS): RATE,
    ("s", ROWS): ROW_TIME,
}
_HINTS = {
    frozenset((RATE, ROW_RATE)): "; a request may have several rows: `offered_rows` is the load in rows, and a rate of "
    "rows over `request_rows` one of requests",
    frozenset(("1", ROWS)): "; a request may have several rows: requests times `request_rows` are rows",
    frozenset(("s", ROW_TIME)): "; a request may have several rows: requests times `request_rows` are rows",
}
"""What was meant, where two units differ by the rows of a request."""


def unit_mistakes(root: Node, wanted: str | None = None) -> list[ExpressionError]:
    """What meets another unit, by column; `wanted` is the unit of the whole, where it has one."""
    units = _Units()
    found = units.of(root)
    if wanted is not None and found not in {wanted, _PLAIN, _OPEN}:
        hint = _HINTS.get(frozenset((found, wanted)), "")
        message = f"the expression is {_WORDS[found]}; {_WORDS[wanted]} is wanted here{hint}"
        units.errors.append(ExpressionError(message, 1))
    return sorted(units.errors, key=lambda error: error.column)


class _Units:
    def __init__(self) -> None:
        self.errors: list[ExpressionError] = []

    def of(self, node: Node) -> str:
        match node:
            case Literal(value=value, unit=unit):
                return unit if isinstance(value, float) else _OPEN
            case Call(name=name) if name in BY_NAME:
                return BY_NAME[name].unit if BY_NAME[name].type is Type.NUMBER else _OPEN
            case Call():
                return self._alike(node, node.args)
            case Unary(operand=operand):
                return self.of(operand)
            case Conditional():
                self.of(node.test)
                return self._alike(node, (node.then, node.otherwise))
            case Binary():
                return self._binary(node)

    def _binary(self, node: Binary) -> str:
        if node.operator in {"*", "/"}:
            left, right = self.of(node.left), self.of(node.right)
            return _product(left, right) if node.operator == "*" else _quotient(left, right)
        if node.operator in COMPARISONS:
            self._alike(node, (node.left, node.right))
            self._share(node.left, node.right)
            self._share(node.right, node.left)
            return _OPEN
        if node.operator in {"&&", "||"}:
            self.of(node.left)
            self.of(node.right)
            return _OPEN
        return self._alike(node, (node.left, node.right))

    def _alike(self, node: Node, parts: tuple[Node, ...]) -> str:
        """The unit of parts that must have one; a mistake where two of them differ."""
        units = [(part, self.of(part)) for part in parts]
        known = [(part, unit) for part, unit in units if unit not in {_PLAIN, _OPEN}]
        for part, unit in known[1:]:
            if unit != known[0][1]:
                one, other = (f"{unparse(each)} is {_WORDS[of]}" for each, of in (known[0], (part, unit)))
                hint = _HINTS.get(frozenset((known[0][1], unit)), "")
                self.errors.append(ExpressionError(f"{one}, and {other}: their units differ{hint}", node.column))
                return _OPEN
        return next((unit for _, unit in (*known, *units) if unit), _PLAIN)

    def _share(self, fact: Node, number: Node) -> None:
        """A share held against a plain number above 1: per cent were meant."""
        if not (isinstance(fact, Call) and fact.name in SHARES and isinstance(number, Literal)):
            return
        if isinstance(number.value, float) and number.value > 1 and not number.unit:
            text = unparse(number)
            hint = f"write {text}% or {number.value / 100:.12g}" if number.value <= 100 else "write a share such as 85%"
            self.errors.append(ExpressionError(f"{unparse(fact)} is at most 1, not {text}; {hint}", number.column))


def _product(left: str, right: str) -> str:
    if left in {_PLAIN, *_FACTORS} or right in {_PLAIN, *_FACTORS}:
        return _weaker(left, right)
    return _TIMES.get(frozenset((left, right)), _OPEN)


def _weaker(left: str, right: str) -> str:
    """Of two of which one is a factor, the other; of a plain number and a factor, the factor."""
    order = (_PLAIN, "ratio", "1")
    rank = {unit: place for place, unit in enumerate(order)}
    return max(left, right, key=lambda unit: rank.get(unit, len(order)))


def _quotient(left: str, right: str) -> str:
    if _OPEN in {left, right}:
        return _OPEN
    if left == right:
        return "ratio" if left else _PLAIN
    if right in {_PLAIN, "ratio"}:
        return left
    return _OVER.get((left, right), left if right == "1" and left else _OPEN)
