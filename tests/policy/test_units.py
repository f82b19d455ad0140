"""Units: what a number is written with, and that apples are not held against pears."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.policy.document import PolicyDocument, check
from sloctl.policy.expression import Expression, problems
from sloctl.policy.facts import StaticFacts, Type, Vocabulary
from sloctl.policy.parser import parse
from sloctl.policy.quantity import format_quantity, parse_quantity
from sloctl.policy.syntax import unparse

VOCABULARY = Vocabulary(("slo",), {"m": ("fp32", "int8")}, ("high", "low"))
NAMES = VOCABULARY.names("m")


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("250ms", 0.25, "s"),
        ("1h30m", 5400.0, "s"),
        ("1.1ms", 0.0011, "s"),
        ("85%", 0.85, "ratio"),
        ("0.1%", 0.001, "ratio"),
        ("2GiB", 2.0 * 1024**3, "bytes"),
        ("1.5MB", 1.5e6, "bytes"),
    ],
)
def test_a_number_may_have_a_unit(text: str, value: float, unit: str) -> None:
    assert parse_quantity(text) == (value, unit)
    assert parse_quantity(format_quantity(value, unit)) == (value, unit)
    assert unparse(parse(f"x > {text}")) == unparse(parse(unparse(parse(f"x > {text}"))))


@given(st.decimals(0, 10**6, places=4), st.sampled_from(["s", "%", "KiB"]))
def test_what_is_written_reads_the_same_again(number: object, unit: str) -> None:
    value, of = parse_quantity(f"{number:f}{unit}")
    assert parse_quantity(format_quantity(value, of)) == (value, of)


@pytest.mark.parametrize(
    "text",
    [
        "latency(0.99) > 250ms",
        "latency(0.99) > 0.25",
        "batch_time * 4 > 250ms",
        "latency(0.99) - queue_delay(0.99) > 0.5 * batch_time",
        "device_memory_ratio > 85%",
        "device_memory_ratio > 0.85",
        "budget_remaining('slo') < 1 - 85%",
        "memory_headroom_bytes < 2GiB",
        "process_memory_bytes / memory_headroom_bytes > 50%",
        "offered_rate * request_rows > 85% * capacity",
        "offered_rows > 0.9 * capacity('fp32')",
        "offered_rows / request_rows > offered_rate",
        "offered_rows / offered_rate < 2 * request_rows",
        "queue_length * request_rows / capacity > 100ms",
        "queue_length / capacity * request_rows > 100ms",
        "batch_time / batch_size > 1 / capacity",
        "batch_size > request_rows",
        "queue_length * batch_time > 1s",
        "events('slo', '2s') * request_rows > 2s * capacity",
        "events('slo', '1h') / 1h > 0.1",
        "capacity * batch_time > 4",
        "inflight / queue_length > 85%",
        "1 / latency(0.5) > offered_rate",
        "burn_rate('slo', '1h') > 14.4",
        "time_in_variant > 5m",
        "time_to_exhaustion('slo', '6h') < 2d",
        "clamp(latency(0.5), 10ms, 1) > 0.5",
        "(gpu_throttled ? 100ms : 0.2) < latency(0.9)",
        "time_of_day('UTC') > 18",
        "gpu_temperature > 85",
        "error_ratio > 1",
    ],
)
def test_units_that_fit(text: str) -> None:
    assert problems(text, NAMES) == []


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("latency(0.99) > 85%", 15, "latency(0.99) is a time (s), and 85% is a ratio: their units differ"),
        ("memory_headroom_bytes < 5m", 23, "memory_headroom_bytes is bytes, and 5m is a time (s)"),
        ("offered_rate > queue_length", 14, "offered_rate is a rate (1/s), and queue_length is a count"),
        ("events('slo', '2s') > capacity", 21, "capacity is a rate of rows (row/s): their units differ"),
        (
            "offered_rate > 0.9 * capacity",
            14,
            "offered_rate is a rate (1/s), and 0.9 * capacity is a rate of rows (row/s): their units differ; a request "
            "may have several rows: `offered_rows` is the load in rows",
        ),
        ("offered('low') + capacity > 5", 16, "`offered_rows` is the load in rows"),
        ("events('slo', '2s') > 2s * capacity", 21, "requests times `request_rows` are rows"),
        ("queue_length / capacity > 100ms", 25, "queue_length / capacity is a time a row (s/row), and 100ms is a time"),
        ("batch_size > queue_length", 12, "batch_size is rows, and queue_length is a count"),
        ("latency(0.5) + error_ratio > 1", 14, "latency(0.5) is a time (s), and error_ratio is a ratio"),
        ("min(latency(0.5), 85%) > 0.1", 1, "their units differ"),
        ("time_of_day('UTC') > 18h", 20, "an hour of the day, a plain number, and 18h is a time (s)"),
        ("gpu_temperature > 85%", 17, "degrees, a plain number, and 85% is a ratio"),
        ("gpu_throttled || latency(0.5) > 2GiB", 31, "their units differ"),
        ("(gpu_throttled ? 100ms : 85%) > 0.1", 16, "100ms is a time (s), and 85% is a ratio"),
        ("device_memory_ratio > 85", 23, "device_memory_ratio is at most 1, not 85; write 85% or 0.85"),
        ("5 < error_ratio", 1, "error_ratio is at most 1, not 5; write 5% or 0.05"),
        ("accuracy < 950", 12, "accuracy is at most 1, not 950; write a share such as 85%"),
        ("latency(0.99) > 250us", 17, "'250us' has no unit that is known here"),
        ("latency(0.99) > 5 % 3", 19, "there is no remainder operator"),
    ],
)
def test_units_that_do_not_are_refused_at_load(text: str, column: int, says: str) -> None:
    (error,) = problems(text, NAMES)
    assert error.column == column
    assert says in error.message


def test_a_rate_of_admission_is_a_rate() -> None:
    def admitting(rate: object) -> PolicyDocument:
        rule = {"name": "r", "when": "queue_length > 1", "action": {"shed": {"admitRate": rate}}}
        spec = {"model": "m", "ladder": ["fp32", "int8"], "rules": [rule]}
        head = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}}
        return PolicyDocument.model_validate(head | {"spec": spec})

    assert check(admitting("85% * capacity / request_rows"), VOCABULARY) == []
    assert check(admitting("100"), VOCABULARY) == []
    (problem,) = check(admitting("85%"), VOCABULARY)
    assert problem.message == "the expression is a ratio; a rate (1/s) is wanted here"
    (problem,) = check(admitting("85% * capacity"), VOCABULARY)
    assert problem.message.startswith("the expression is a rate of rows (row/s); a rate (1/s) is wanted here; ")
    assert "over `request_rows`" in problem.message


def test_a_unit_changes_no_value() -> None:
    facts = StaticFacts({"latency(0.5)": 0.3})
    for text in ("latency(0.5) > 250ms", "latency(0.5) > 0.25"):
        assert Expression.compile(text, NAMES, Type.BOOL).evaluate(facts).value is True
