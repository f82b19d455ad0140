"""Traces: a row a second of what a model's policy sees, in CSV. Each column is a fact as an expression would name it.

    at,offered_rate,"offered(""high"")",…,decisions
    1763690000.25,120.5,24,…,precision:down fp32 → int8 [planner]

Good and valid events of each SLO since its history began follow, in columns that are no facts: `good[NAME]` and
`events[NAME]`. `at` is in Unix seconds, `decisions` what was decided since the row before. No data is an empty field.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from sloctl.policy.decisions import Decision
from sloctl.policy.document import PolicyDocument
from sloctl.policy.facts import BY_NAME, FACTS, NAN, Args, Domain, Facts, Type, Value, Vocabulary, fact_key
from sloctl.policy.parser import parse
from sloctl.policy.syntax import Call, ExpressionError, Literal, Node, children, unparse

AT, DECISIONS = "at", "decisions"
Counts = Mapping[str, tuple[float, float]]
"""Good and valid events of each SLO since its history began."""
_QUANTILES = (0.5, 0.99)
_ANEW = {Domain.SLO, Domain.QUANTILE, Domain.ZONE}
"""Whoever reads a trace counts facts of these anew."""
_MOST_COLUMNS = 512


class TraceError(ValueError):
    """A trace that cannot be read; the message says where and why."""


def columns(vocabulary: Vocabulary, model: str, policies: Iterable[PolicyDocument] = ()) -> tuple[str, ...]:
    """The facts that a trace of a model holds: those without argument, and by class, variant, SLO, quantile and reason.

    Besides, what its policy's rules name and nobody could count anew: XIDs by window, the drift of a layer, alerts.
    """
    names = vocabulary.names(model)
    known: dict[Domain, tuple[str | float, ...]] = {
        domain: names.get(domain, ()) for domain in (Domain.PRIORITY, Domain.VARIANT, Domain.SLO, Domain.CLOCKS_EVENT)
    }
    known[Domain.QUANTILE] = _QUANTILES
    found: list[str] = []
    for fact in FACTS:
        # What is the serving variant's without an argument is among those of all variants.
        of_serving = fact.args == (Domain.VARIANT,) and fact.values is None
        if not fact.args or (fact.optional and not of_serving):
            found.append(fact.name)
        if len(fact.args) == 1 and fact.args[0] in known:
            found += [key_of(fact.name, (value,)) for value in known[fact.args[0]]]
    rules = [rule for policy in policies if policy.spec.model == model for rule in policy.spec.rules]
    named = [name for rule in rules for text in rule.expressions for name in _named(parse(text))]
    return tuple(dict.fromkeys([*found, *named]))


def _named(node: Node) -> Iterator[str]:
    """The facts with arguments in a tree that can only be recorded."""
    if isinstance(node, Call) and node.args and node.name in BY_NAME:
        if not _ANEW & set(BY_NAME[node.name].args):
            yield unparse(node)
        return
    for child in children(node):
        yield from _named(child)


def key_of(name: str, args: Args) -> str:
    """A fact as an expression names it, such as `offered("high")`."""
    return unparse(Call(name, tuple(Literal(arg, 0) for arg in args), 0))


def good_column(slo: str) -> str:
    """The column of an SLO's good events, which is no fact: for `sloctl backtest`."""
    return f"good[{slo}]"


def events_column(slo: str) -> str:
    """The column of its valid events."""
    return f"events[{slo}]"


def header(facts: Sequence[str], slos: Iterable[str] = ()) -> str:
    """The first line."""
    return _line([AT, *facts, *(column(slo) for slo in slos for column in (good_column, events_column)), DECISIONS])


def row(
    at: float, wanted: Sequence[str], facts: Facts, decisions: Iterable[Decision], counts: Counts | None = None
) -> str:
    """One line, with the SLOs in the order of `counts`."""
    values = (facts.get(*fact_key(text)) for text in wanted)
    taken = "; ".join(f"{d.action} {d.before} → {d.after} [{d.rule}]" for d in decisions)
    counted = (f"{number:.15g}" for pair in (counts or {}).values() for number in pair)
    return _line([f"{at:.3f}", *(_text(value) for value in values), *counted, taken])


def _line(fields: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue()


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    return "" if value != value else f"{value:.6g}"


def read(lines: Iterable[str], most: int) -> tuple[list[float], list[dict[tuple[str, Args], Value]]]:
    """Times and facts of at most `most` rows. Columns that are no facts are passed over. Raises TraceError."""
    table = csv.reader(lines)
    try:
        names = next(table, [])
        if AT not in names or len(names) > _MOST_COLUMNS:
            raise TraceError("the first line is no trace's: it names no column `at`")
        keys = [_fact(name) for name in names]
        at = names.index(AT)
        times: list[float] = []
        rows: list[dict[tuple[str, Args], Value]] = []
        for fields in table:
            if len(rows) >= most:
                raise TraceError(f"more than {most} rows; cut it, or simulate its parts")
            if len(fields) != len(names):
                raise TraceError(f"line {table.line_num}: {len(fields)} fields where the first line names {len(names)}")
            times.append(_number(fields[at], table.line_num))
            pairs = zip(keys, fields, strict=True)
            rows.append({key: _value(key[0], text, table.line_num) for key, text in pairs if key is not None})
    except csv.Error as error:
        raise TraceError(f"line {table.line_num}: {error}") from None
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise TraceError("the times in column `at` do not rise")
    return times, rows


def _fact(name: str) -> tuple[str, Args] | None:
    try:
        return fact_key(name)
    except ExpressionError:
        return None


def _value(fact: str, text: str, line: int) -> Value:
    kind = BY_NAME[fact].type
    if text == "":
        return NAN
    if kind is Type.BOOL:
        return text == "true"
    return text if kind is Type.STRING else _number(text, line)


def _number(text: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise TraceError(f"line {line}: {text[:40]!r} is not a number") from None


class RecordedFacts:
    """One row's facts; what it does not hold is NaN."""

    def __init__(self, values: Mapping[tuple[str, Args], Value]) -> None:
        self._values = values

    def get(self, name: str, args: Args) -> Value:
        """The value, or NaN."""
        return self._values.get((name, args), NAN)
