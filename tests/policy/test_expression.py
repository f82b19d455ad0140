"""The expression language: what it computes, what it refuses and where, and that nothing else comes out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.policy.explain import explain
from sloctl.policy.expression import Expression, problems
from sloctl.policy.facts import BY_NAME, FACTS, StaticFacts, Type, Value, Vocabulary
from sloctl.policy.parser import parse
from sloctl.policy.syntax import (
    BINDING,
    Binary,
    Call,
    Conditional,
    ExpressionError,
    Literal,
    Node,
    Unary,
    unparse,
)

VOCABULARY = Vocabulary(("digits-latency",), {"digits": ("fp32", "int8")}, ("high", "normal", "low"))
NAMES = VOCABULARY.names("digits")
FACTS_NOW = StaticFacts(
    {
        'burn_rate("digits-latency", "2s")': 31.2,
        "offered_rate": 900.0,
        "offered_rows": 900.0,
        "request_rows": 1.0,
        "capacity": 500.0,
        "queue_length": 0.0,
        "breaker": "closed",
        "variant": "fp32",
        "gpu_throttled": True,
    }
)


def value_of(text: str, expected: Type) -> Value | None:
    return Expression.compile(text, NAMES, expected).evaluate(FACTS_NOW).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("7 - 2 - 1", 4.0),
        ("8 / 4 / 2", 1.0),
        ("-2 * -3", 6.0),
        (".5 + 1e1", 10.5),
        ("min(3, 1, 2)", 1.0),
        ("max(request_rows * offered_rate, capacity)", 900.0),
        ("clamp(7, 0, 5)", 5.0),
        ("clamp(-1, 0, 5)", 0.0),
        ("abs(-4)", 4.0),
        ("variant == 'fp32' ? 1 : 2", 1.0),
        ("false ? 1 : true ? 2 : 3", 2.0),
        ("capacity()", 500.0),
    ],
)
def test_numbers(text: str, value: float) -> None:
    assert value_of(text, Type.NUMBER) == value


@pytest.mark.parametrize(
    "text",
    [
        "offered_rate / queue_length",
        "latency(0.99) + 1",
        "min(latency(0.99), 1)",
        "min(1, latency(0.99))",
        "clamp(1, 0, latency(0.99))",
        "latency(0.99) > 1 ? 1 : 2",
        "-latency(0.5)",
    ],
)
def test_missing_data_and_division_by_zero_are_nan_wherever_they_stand(text: str) -> None:
    value = value_of(text, Type.NUMBER)
    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 < 2 && 2 <= 2 && 3 != 4", True),
        ("!(1 > 2)", True),
        ("true || false && false", True),
        ('breaker == "closed"', True),
        ('breaker != "closed"', False),
        ("gpu_throttled", True),
        pytest.param("latency(0.99) > 1", None, id="a comparison with missing data is unknown"),
        pytest.param("latency(0.99) != 1", None, id="also an inequality"),
        pytest.param("!(latency(0.99) > 1)", None, id="negation does not make it true"),
        pytest.param("latency(0.99) > 1 && false", False, id="unknown and false is false"),
        pytest.param("false && latency(0.99) > 1", False, id="false and unknown is false"),
        pytest.param("latency(0.99) > 1 && true", None, id="unknown and true is unknown"),
        pytest.param("latency(0.99) > 1 || true", True, id="unknown or true is true"),
        pytest.param("latency(0.99) > 1 || false", None, id="unknown or false is unknown"),
        pytest.param("health_ok", None, id="a boolean fact without data is unknown"),
        pytest.param("(gpu_temperature > 1 ? true : false) == true", None, id="so is a case on unknown"),
    ],
)
def test_truth(text: str, value: bool | None) -> None:
    assert value_of(text, Type.BOOL) is value


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("offerd_rate > 1", 1, "did you mean 'offered_rate'"),
        ('1 < burn_rate("digits-latncy", "2s")', 15, "did you mean 'digits-latency'"),
        ('burn_rate("digits-latency", "2x") > 1', 29, "expected a duration"),
        ('burn_rate("digits-latency", "0s") > 1', 29, "longer than 0"),
        ('burn_rate("digits-latency") > 1', 1, "burn_rate(SLO, window)"),
        ('queue_length("x") > 1', 1, "wrong number of arguments (1)"),
        ("alert > 0", 1, "alert(alert, [label, value]…)"),
        ('alert("A", "severity") > 0', 1, "wrong number of arguments (2)"),
        ('alert("A", "severity", 5) > 0', 24, "string in quotes"),
        ('alert("A", "0s", "page") > 0', 12, "is no label"),
        ('alert("A", "s", "page", "s", "ticket") > 0', 25, "named twice"),
        ('capacity("int4") > 1', 10, "unknown variant 'int4'; did you mean 'int8'"),
        ('offered("hi") > 1', 9, "did you mean 'high'"),
        ("offered(high) > 1", 9, "string in quotes"),
        ("latency(99) > 1", 9, "between 0 and 1"),
        ('latency("0.9") > 1', 9, "a plain number"),
        ('offered_rate > "a"', 16, "wants a number, not a string"),
        ('breaker == "closde"', 12, "did you mean 'closed'"),
        ('"int7" != variant', 1, "did you mean 'int8'"),
        ("variant == 1", 9, "a string cannot be compared with a number"),
        ("offered_rate && true", 1, "wants a boolean, not a number"),
        ("!offered_rate", 2, "wants a boolean"),
        ("1 < 2 < 3", 3, "wants a number, not a boolean"),
        ("true ? 1 : true", 6, "both cases"),
        ("abs(1, 2) > 0", 1, "wants 1 argument(s), not 2"),
        ("min(1) > 0", 1, "2 or more"),
        ("offered_rate", 1, "the expression is a number; a boolean is wanted"),
        ("", 1, "the end of the expression"),
        ("1 +", 4, "the end of the expression"),
        ("(1 > 2", 7, "expected ')'"),
        ("1 > 2)", 6, "expected an operator"),
        ("offered_rate = 1", 14, "=="),
        ("true and true", 6, "written &&"),
        ("not true", 1, "written !"),
        ("latency(0.9) > 5us", 16, "no unit that is known"),
        ('breaker == "open', 12, "must end on its line"),
        ("1e999 > 1", 1, "too large"),
        ("min(1,) > 0", 7, "another argument"),
        ("1 > 2 @", 7, "unexpected '@'"),
        ("true ? false", 13, "':'"),
    ],
)
def test_mistakes_have_their_column(text: str, column: int, message: str) -> None:
    found = problems(text, NAMES)
    assert found
    assert [(error.column, message in error.message) for error in found[:1]] == [(column, True)], found


def test_all_mistakes_are_told_at_once() -> None:
    found = problems('burn_rate("a", "2x") > 6 && capasity > "x"', NAMES)
    assert [error.column for error in found] == [11, 16, 29, 40]


def test_names_that_are_not_known_here_are_not_checked() -> None:
    assert problems('burn_rate("any", "2s") > 1 && capacity("any") > 1', Vocabulary().names("m")) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("(" * 10_000, id="too long"),
        pytest.param("(" * 1900, id="open parentheses"),
        pytest.param("!" * 1900 + "true", id="many negations"),
        pytest.param("+".join("1" * 900) + " > 0", id="a long chain, which nests to the left"),
        pytest.param("true ? 1 : " * 150, id="nested cases"),
        pytest.param("abs(" * 400, id="nested calls"),
    ],
)
def test_bounds(text: str) -> None:
    (error,) = problems(text, NAMES)
    assert "at most" in error.message or "levels deep" in error.message


@given(st.text(max_size=300))
def test_arbitrary_text_gives_a_tree_or_an_expression_error(text: str) -> None:
    found = None
    try:
        parse(text)
    except ExpressionError as error:
        found = error
    assert found is None or 1 <= found.column <= len(text) + 1


_PIECES = ["offered_rate", "burn_rate", "(", ")", '"2s"', ",", "1", ".5", "&&", "||", "!", "-", "?", ":", "<", "=="]


@given(st.lists(st.sampled_from([*_PIECES, *BY_NAME]), max_size=40).map(" ".join))
def test_checking_nearly_right_text_never_crashes(text: str) -> None:
    found = problems(text, NAMES)
    if not found:
        Expression.compile(text, NAMES).evaluate(StaticFacts({}))


def _trees() -> st.SearchStrategy[Node]:
    names = st.sampled_from(["offered_rate", "x", "min"])
    texts = st.text("ab\\\"' ", max_size=4)
    literals = st.one_of(st.floats(0, allow_infinity=False, allow_nan=False), texts, st.booleans())
    leaves = st.one_of(literals.map(lambda v: Literal(v, 0)), names.map(lambda n: Call(n, (), 0)))
    operators = st.sampled_from([symbol for symbol in BINDING if symbol != "?"])
    return st.recursive(
        leaves,
        lambda node: st.one_of(
            st.builds(Call, names, st.lists(node, min_size=1, max_size=3).map(tuple), st.just(0)),
            st.builds(Unary, st.sampled_from("!-"), node, st.just(0)),
            st.builds(Binary, operators, node, node, st.just(0)),
            st.builds(Conditional, node, node, node, st.just(0)),
        ),
        max_leaves=20,
    )


@given(_trees())
def test_text_of_a_tree_parses_to_the_tree(tree: Node) -> None:
    assert parse(unparse(tree)) == tree


def test_a_deep_tree_within_the_bound_round_trips() -> None:
    tree: Node = Literal(1.0, 0)
    for _ in range(49):
        tree = Binary("-", Literal(1.0, 0), tree, 0)
    assert parse(unparse(tree)) == tree


def test_an_evaluation_records_what_it_read_and_only_that() -> None:
    expression = Expression.compile("offered_rows > capacity || queue_length > 1", NAMES)
    assert expression.evaluate(FACTS_NOW).facts == {"offered_rows": 900.0, "capacity": 500.0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('burn_rate("digits-latency","2s") > 6', 'burn_rate("digits-latency", "2s") = 31.2 > 6'),
        (
            "offered_rows > 0.9*capacity && gpu_throttled",
            "offered_rows = 900 > 0.9 * capacity = 450 && gpu_throttled = true",
        ),
        ("queue_length > 1 || offered_rate > 1", "offered_rate = 900 > 1"),
        ("queue_length > 1 && offered_rate > 1", "queue_length = 0 > 1"),
        ("latency(0.5) > 1", "latency(0.5) = no data > 1"),
    ],
)
def test_the_reason_names_the_comparisons_that_decided(text: str, reason: str) -> None:
    expression = Expression.compile(text, NAMES)
    assert explain(expression, expression.evaluate(FACTS_NOW)) == reason


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: str(fact.name))
def test_every_fact_can_be_named_and_is_described(fact: object) -> None:
    literals = {
        "SLO": '"digits-latency"',
        "variant": '"int8"',
        "priority class": '"low"',
        "window": '"5s"',
        "clocks event reason": '"gpu_idle"',
        "layer": '"conv1"',
        "time zone": '"UTC"',
        "alert": '"Watchdog"',
    }
    known = BY_NAME[fact.name]  # type: ignore[attr-defined]
    args = ", ".join(literals.get(str(arg), "0.5") for arg in known.args)
    text = f"{known.name}({args})" if args else known.name
    assert problems(text, NAMES, known.type) == []
    assert known.doc.endswith((".", ")"))
    assert known.type is not Type.NUMBER or known.unit


def test_facts_written_down_must_be_facts() -> None:
    with pytest.raises(ExpressionError, match="not a fact"):
        StaticFacts({"nonsense": 1.0})
