"""Type check of an expression at load: every mistake with its column and, where it can be told, what was meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from sloctl.config.base import parse_duration
from sloctl.policy.calendar import zone
from sloctl.policy.facts import BY_NAME, Domain, Fact, Names, Type
from sloctl.policy.syntax import (
    COMPARISONS,
    Binary,
    Call,
    Conditional,
    ExpressionError,
    Literal,
    Node,
    Unary,
)

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

BUILTINS = {"min": (2, None), "max": (2, None), "clamp": (3, 3), "abs": (1, 1)}
"""Functions of numbers: their least and most arguments."""


def suggest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or what there is, or nothing."""
    names = sorted(known)
    if close := get_close_matches(name, names, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; there is {', '.join(names)}" if 0 < len(names) <= 8 else ""


def infer(node: Node, names: Names) -> tuple[Type | None, list[ExpressionError]]:
    """The type of a tree (None where mistakes leave it open) and all mistakes in it, by column."""
    checker = _Checker(names)
    found = checker.type_of(node)
    return found, sorted(checker.errors, key=lambda error: error.column)


class _Checker:
    def __init__(self, names: Names) -> None:
        self._names = names
        self.errors: list[ExpressionError] = []

    def _error(self, message: str, node: Node) -> None:
        self.errors.append(ExpressionError(message, node.column))

    def type_of(self, node: Node) -> Type | None:
        match node:
            case Literal(value=value):
                kinds = {bool: Type.BOOL, str: Type.STRING, float: Type.NUMBER}
                return kinds[type(value)]
            case Call():
                return self._builtin(node) if node.name in BUILTINS else self._fact(node)
            case Unary():
                return self._unary(node)
            case Binary():
                return self._binary(node)
            case Conditional():
                return self._conditional(node)

    def _expect(self, node: Node, wanted: Type, where: str) -> None:
        found = self.type_of(node)
        if found not in {None, wanted}:
            self._error(f"{where} wants a {wanted}, not a {found}", node)

    def _unary(self, node: Unary) -> Type:
        wanted = Type.BOOL if node.operator == "!" else Type.NUMBER
        self._expect(node.operand, wanted, repr(node.operator))
        return wanted

    def _binary(self, node: Binary) -> Type:
        if node.operator in {"==", "!="}:
            self._equality(node)
        else:
            operands = Type.BOOL if node.operator in {"&&", "||"} else Type.NUMBER
            self._expect(node.left, operands, repr(node.operator))
            self._expect(node.right, operands, repr(node.operator))
        logical = node.operator in {*COMPARISONS, "&&", "||"}
        return Type.BOOL if logical else Type.NUMBER

    def _equality(self, node: Binary) -> None:
        left, right = self.type_of(node.left), self.type_of(node.right)
        if left is not None and right is not None and left is not right:
            self._error(f"a {left} cannot be compared with a {right}", node)
        for one, other in ((node.left, node.right), (node.right, node.left)):
            fact = BY_NAME.get(one.name) if isinstance(one, Call) else None
            if fact and fact.values and isinstance(other, Literal) and isinstance(other.value, str):
                self._name(fact.values, other.value, other)

    def _conditional(self, node: Conditional) -> Type | None:
        self._expect(node.test, Type.BOOL, "the test before '?'")
        then, otherwise = self.type_of(node.then), self.type_of(node.otherwise)
        if then is not None and otherwise is not None and then is not otherwise:
            self._error(f"both cases want one type, not a {then} and a {otherwise}", node)
        return then or otherwise

    def _builtin(self, node: Call) -> Type:
        least, most = BUILTINS[node.name]
        if len(node.args) < least or (most is not None and len(node.args) > most):
            count = f"{least}" if least == most else f"{least} or more"
            self._error(f"{node.name} wants {count} argument(s), not {len(node.args)}", node)
        for arg in node.args:
            self._expect(arg, Type.NUMBER, node.name)
        return Type.NUMBER

    def _fact(self, node: Call) -> Type | None:
        fact = BY_NAME.get(node.name)
        if fact is None:
            self._error(f"unknown name {node.name!r}{suggest(node.name, (*BY_NAME, *BUILTINS))}", node)
            for arg in node.args:
                self.type_of(arg)
            return None
        domains = fact.domains(len(node.args))
        if domains is None:
            self._error(f"wrong number of arguments ({len(node.args)}): {fact.signature}", node)
        for domain, arg in zip(domains or fact.args, node.args, strict=False):
            self._argument(fact, domain, arg)
        self._labels([arg for domain, arg in zip(domains or (), node.args, strict=False) if domain is Domain.LABEL])
        return fact.type

    def _argument(self, fact: Fact, domain: Domain, arg: Node) -> None:
        wanted = float if domain is Domain.QUANTILE else str
        if not isinstance(arg, Literal) or isinstance(arg.value, bool) or not isinstance(arg.value, wanted):
            plain = "number between 0 and 1" if wanted is float else "string in quotes"
            self._error(f"{fact.signature}: the {domain} is a plain {plain}", arg)
        elif isinstance(arg.value, float):
            if not 0 <= arg.value <= 1:
                self._error("a quantile lies between 0 and 1", arg)
        elif domain is Domain.WINDOW:
            self._window(arg.value, arg, kept=Domain.SLO in fact.args)
        elif domain is Domain.ZONE:
            self._zone(arg.value, arg)
        elif domain is Domain.LABEL:
            if not _LABEL.fullmatch(arg.value):
                self._error(f"{arg.value!r} is no label: letters, digits and _, no digit first", arg)
        else:
            self._name(domain, arg.value, arg)

    def _labels(self, args: list[Node]) -> None:
        """A label that is named twice would have to have two values, or one of the two says nothing."""
        seen: set[object] = set()
        for arg in args:
            name = arg.value if isinstance(arg, Literal) else None
            if name in seen:
                self._error(f"label {name!r} is named twice", arg)
            seen.add(name)

    def _window(self, text: str, arg: Node, *, kept: bool) -> None:
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            self._error(f"window {text!r}: {error}", arg)
            return
        if seconds <= 0:
            self._error("a window is longer than 0", arg)
        for longest in self._names.get(Domain.WINDOW, ()) if kept else ():
            if seconds > parse_duration(longest):
                self._error(f"no SLO keeps {text}; the longest window kept is {longest}", arg)

    def _zone(self, name: str, arg: Node) -> None:
        try:
            zone(name)
        except ValueError as error:
            self._error(str(error), arg)

    def _name(self, domain: Domain, name: str, arg: Node) -> None:
        known = self._names.get(domain)
        if known is not None and name not in known:
            self._error(f"unknown {domain} {name!r}{suggest(name, known)}", arg)
