"""The syntax tree of policy expressions, and its way back to text.

A strict subset of the Common Expression Language's grammar: literals, names, calls, `! -`, `* /`, `+ -`,
comparisons, `&&`, `||` and `?:`. Every node knows its column (1-based, in characters of the expression);
columns do not count when trees are compared.
"""

from dataclasses import dataclass, field

from sloctl.policy.quantity import format_quantity


class ExpressionError(ValueError):
    """An expression that cannot be used: `message` for people, `column` (1-based) where it goes wrong."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.column = column

    def __str__(self) -> str:
        return f"column {self.column}: {self.message}"


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a string or a boolean; `unit` is that of a number that was written with one."""

    value: float | str | bool
    column: int = field(compare=False)
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A fact or a builtin function; a bare name is a call without arguments."""

    name: str
    args: tuple["Node", ...]
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """`!x` or `-x`."""

    operator: str
    operand: "Node"
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`; its column is the operator's."""

    operator: str
    left: "Node"
    right: "Node"
    column: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Conditional:
    """`test ? then : otherwise`; its column is the question mark's."""

    test: "Node"
    then: "Node"
    otherwise: "Node"
    column: int = field(compare=False)


Node = Literal | Call | Unary | Binary | Conditional

COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
BINDING = {"?": 1, "||": 2, "&&": 3, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6}
PREFIX = 7  # how tightly ! and - hold their operand


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right below one."""
    match node:
        case Call(args=args):
            return args
        case Unary(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
        case Conditional(test=test, then=then, otherwise=otherwise):
            return (test, then, otherwise)
    return ()


def unparse(node: Node, least: int = 0) -> str:
    """The canonical text of a tree; parsing it gives the tree again. `least` is the binding it must have."""
    text, binding = _text(node)
    return f"({text})" if binding < least else text


def _text(node: Node) -> tuple[str, int]:
    match node:
        case Literal(value=value, unit=unit):
            return _literal(value, unit), PREFIX + 1
        case Call(name=name, args=args):
            inside = ", ".join(unparse(arg) for arg in args)
            return f"{name}({inside})" if args else name, PREFIX + 1
        case Unary(operator=operator, operand=operand):
            return operator + unparse(operand, PREFIX), PREFIX
        case Binary(operator=operator, left=left, right=right):
            binding = BINDING[operator]
            return f"{unparse(left, binding)} {operator} {unparse(right, binding + 1)}", binding
        case Conditional(test=test, then=then, otherwise=otherwise):
            return f"{unparse(test, 2)} ? {unparse(then, 2)} : {unparse(otherwise, 1)}", 1


def _literal(value: float | str | bool, unit: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return format_quantity(value, unit)
