"""Lints of policies: comparisons that are decided from the start, and windows that an SLO does not keep."""

from collections.abc import Iterator, Mapping, Sequence

from sloctl.config.base import format_duration, parse_duration
from sloctl.config.checks import Loaded
from sloctl.config.problems import Code, Problem
from sloctl.config.sources import Loc
from sloctl.policy.document import PolicyDocument
from sloctl.policy.parser import parse
from sloctl.policy.syntax import COMPARISONS, Binary, Call, ExpressionError, Literal, Node, children, unparse
from sloctl.policy.units import SHARES
from sloctl.slo.alarms import alarms_of, lengths_of
from sloctl.slo.objective import Objective
from sloctl.slo.windows import AlertWindow

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TIMES = ("latency", "queue_delay", "batch_time")
_LONG = 10.0  # seconds that a request hardly takes
_WINDOWED = ("burn_rate", "slo_error_ratio", "events", "time_to_exhaustion")

Finding = tuple[Node, Code, str, str]


def lint_policy(
    policy: Loaded[PolicyDocument], objectives: Sequence[Objective], windows: Sequence[AlertWindow]
) -> Iterator[Problem]:
    """Every warning about a policy's expressions."""
    known = {objective.name: objective for objective in objectives}
    kept = {o.name: max(lengths_of(o, alarms_of(o, windows)), default=0.0) for o in objectives}
    for loc, text in _expressions(policy.model):
        try:
            tree = parse(text)
        except ExpressionError:
            continue  # a problem of its own
        for node in _nodes(tree):
            for at, code, message, expected in (*_constant(node, known), *_not_kept(node, kept), *_no_unit(node)):
                yield policy.document.problem(loc, code, message, expected, column=at.column)


def _expressions(policy: PolicyDocument) -> Iterator[tuple[Loc, str]]:
    for index, rule in enumerate(policy.spec.rules):
        at: Loc = ("spec", "rules", index)
        yield (*at, "when"), rule.when
        if rule.until is not None:
            yield (*at, "until"), rule.until
        if rule.action.shed is not None and isinstance(rule.action.shed.admit_rate, str):
            yield (*at, "action", "shed", "admitRate"), rule.action.shed.admit_rate


def _nodes(tree: Node) -> Iterator[Node]:
    yield tree
    for child in children(tree):
        yield from _nodes(child)


def _constant(node: Node, known: Mapping[str, Objective]) -> Iterator[Finding]:
    """A comparison of a fact with a number beyond its largest value."""
    if not isinstance(node, Binary) or node.operator not in COMPARISONS:
        return
    fact, number, operator = node.left, node.right, node.operator
    if isinstance(fact, Literal):
        fact, number, operator = number, fact, _FLIPPED.get(operator, operator)
    most = _most(fact, known)
    if most is None or not isinstance(number, Literal) or not isinstance(number.value, float):
        return
    limit, why = most
    beyond = number.value > limit * (1 + 1e-9)
    reached = beyond or abs(number.value - limit) <= limit * 1e-9
    never = {">": reached, ">=": beyond, "==": beyond}.get(operator, False)
    always = {"<": beyond, "<=": reached, "!=": beyond}.get(operator, False)
    if never or always:
        message = f"{unparse(fact)} is at most {limit:.6g}{why}, so this is {'never' if never else 'always'} true"
        yield number, Code.CONSTANT_COMPARISON, message, f"a number below {limit:.6g}"


def _no_unit(node: Node) -> Iterator[Finding]:
    """A plain number of many seconds against the time of a request: milliseconds were meant."""
    if not isinstance(node, Binary) or node.operator not in COMPARISONS:
        return
    for fact, number in ((node.left, node.right), (node.right, node.left)):
        if not (isinstance(fact, Call) and fact.name in _TIMES and isinstance(number, Literal)):
            continue
        if isinstance(number.value, float) and number.value >= _LONG and not number.unit:
            text = unparse(number)
            message = f"{unparse(fact)} is in seconds, and {text} of them is long for a request"
            yield number, Code.NO_UNIT, message, f"{text}ms or {text}s"


def _most(fact: Node, known: Mapping[str, Objective]) -> tuple[float, str] | None:
    if not isinstance(fact, Call):
        return None
    if fact.name in SHARES:
        return 1.0, ""
    slo = fact.args[0].value if fact.args and isinstance(fact.args[0], Literal) else None
    if fact.name == "burn_rate" and isinstance(slo, str) and slo in known:
        budget = known[slo].budget
        return 1 / budget, f" (with every event bad, 1 / {budget:.6g})"
    return None


def _not_kept(node: Node, kept: Mapping[str, float]) -> Iterator[Finding]:
    """A window longer than the SLO's own ones, which is there only while another SLO keeps it."""
    if not isinstance(node, Call) or node.name not in _WINDOWED or len(node.args) != 2:
        return
    slo, window = (arg.value if isinstance(arg, Literal) else None for arg in node.args)
    if not isinstance(slo, str) or not isinstance(window, str) or not kept.get(slo):
        return
    try:
        seconds = parse_duration(window)
    except ValueError:
        return
    if seconds > kept[slo]:
        longest = format_duration(kept[slo])
        message = f'"{slo}" keeps {longest} itself; {window} is there only while another SLO keeps it'
        yield node.args[1], Code.WINDOW_NOT_KEPT, message, f"a window of at most {longest}"
