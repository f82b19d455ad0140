"""Text to syntax tree: a lexer and a Pratt parser, both bounded, that raise nothing but ExpressionError."""

import math
import re
from dataclasses import dataclass

from sloctl.policy.quantity import parse_quantity
from sloctl.policy.syntax import (
    BINDING,
    PREFIX,
    Binary,
    Call,
    Conditional,
    ExpressionError,
    Literal,
    Node,
    Unary,
    children,
)

MAX_LENGTH = 2000
MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?:%|[A-Za-z][A-Za-z0-9.]*)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<string>"(?:[^"\\\n]|\\["'\\])*"|'(?:[^'\\\n]|\\["'\\])*')
      | (?P<symbol>&&|\|\||[=!<>]=|[-+*/!<>?:(),])""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[0-9.]+(?:[eE][+-]?[0-9]+)?")
_ESCAPE = re.compile(r"\\(.)")
_HINTS = {
    "=": "equality is written ==",
    "&": "'and' is written &&",
    "|": "'or' is written ||",
    '"': "a string must end on its line, and \\ may only stand before a quote or another \\",
    "'": "a string must end on its line, and \\ may only stand before a quote or another \\",
    "%": "there is no remainder operator",
}
_WORDS = {"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!"}
_END = "end"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, name, string, symbol or end
    text: str
    column: int

    def __str__(self) -> str:
        return "the end of the expression" if self.kind == _END else repr(self.text)


def parse(text: str) -> Node:
    """The tree of an expression of at most MAX_LENGTH characters and MAX_DEPTH levels."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters", MAX_LENGTH + 1)
    tree = _Parser(_tokens(text)).whole()
    _bound_depth(tree)
    return tree


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            hint = _HINTS.get(text[at])
            raise ExpressionError(f"unexpected {text[at]!r}" + (f": {hint}" if hint else ""), at + 1)
        kind = match.lastgroup or ""
        if kind != "space":
            tokens.append(_Token(kind, match[0], at + 1))
        at = match.end()
    tokens.append(_Token(_END, "", len(text) + 1))
    return tokens


def _bound_depth(tree: Node) -> None:
    """Long chains nest to the left without recursion in the parser, so the finished tree is measured."""
    pending = [(tree, 1)]
    while pending:
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise ExpressionError(f"nested more than {MAX_DEPTH} levels deep", node.column)
        pending.extend((child, depth + 1) for child in children(node))


class _Parser:
    """Pratt's algorithm: a term, then operators for as long as they bind more tightly than asked."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._nesting = 0

    def whole(self) -> Node:
        tree = self._expression(0)
        if self._next.kind != _END:
            raise self._unexpected("an operator")
        return tree

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _expect(self, symbol: str, what: str) -> None:
        if self._next.text != symbol or self._next.kind != "symbol":
            raise self._unexpected(what)
        self._at += 1

    def _unexpected(self, expected: str) -> ExpressionError:
        token = self._next
        hint = _WORDS.get(token.text) if token.kind == "name" else None
        more = f"; {token.text!r} is written {hint}" if hint else ""
        return ExpressionError(f"expected {expected}, found {token}{more}", token.column)

    def _expression(self, least: int) -> Node:
        self._nesting += 1
        if self._nesting > 2 * MAX_DEPTH:  # an operand in parentheses takes two turns here
            raise ExpressionError(f"nested more than {MAX_DEPTH} levels deep", self._next.column)
        left = self._term()
        while self._next.kind == "symbol" and BINDING.get(self._next.text, -1) > least:
            left = self._infix(left, self._take())
        self._nesting -= 1
        return left

    def _infix(self, left: Node, token: _Token) -> Node:
        binding = BINDING[token.text]
        if token.text == "?":
            then = self._expression(binding)  # as in CEL, a conditional here needs parentheses
            self._expect(":", "':' and the other case")
            return Conditional(left, then, self._expression(binding - 1), token.column)
        return Binary(token.text, left, self._expression(binding), token.column)

    def _term(self) -> Node:
        token = self._next
        if token.kind == "number":
            return self._number(self._take())
        if token.kind == "string":
            return Literal(_ESCAPE.sub(r"\1", self._take().text[1:-1]), token.column)
        if token.kind == "name" and token.text not in _WORDS:
            return self._name(self._take())
        if token.kind == "symbol" and token.text in "!-":
            self._at += 1
            return Unary(token.text, self._expression(PREFIX - 1), token.column)
        if token.kind == "symbol" and token.text == "(":
            self._at += 1
            inside = self._expression(0)
            self._expect(")", "')'")
            return inside
        raise self._unexpected("a value, a name or '('")

    @staticmethod
    def _number(token: _Token) -> Node:
        try:
            value, unit = (float(token.text), "") if _PLAIN.fullmatch(token.text) else parse_quantity(token.text)
        except ValueError as error:
            raise ExpressionError(str(error), token.column) from None
        if math.isinf(value):
            raise ExpressionError("the number is too large", token.column)
        return Literal(value, token.column, unit)

    def _name(self, token: _Token) -> Node:
        if token.text in {"true", "false"}:
            return Literal(token.text == "true", token.column)
        args: list[Node] = []
        if self._next.kind == "symbol" and self._next.text == "(":
            self._at += 1
            while self._next.text != ")" or self._next.kind != "symbol":
                args.append(self._expression(0))
                if self._next.kind == "symbol" and self._next.text == ")":
                    break
                self._expect(",", "',' or ')'")
                if self._next.kind == "symbol" and self._next.text == ")":
                    raise self._unexpected("another argument")
            self._at += 1
        return Call(token.text, tuple(args), token.column)
