"""Traces: what is written is read again, and what is no trace is refused with its line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.policy import trace
from sloctl.policy.decisions import Decision
from sloctl.policy.document import PolicyDocument
from sloctl.policy.facts import StaticFacts, Vocabulary, fact_key

VOCABULARY = Vocabulary(("slo",), {"m": ("fp32", "int8")}, ("high", "low"))
COLUMNS = trace.columns(VOCABULARY, "m")


def test_the_columns_are_the_facts_by_class_variant_slo_and_quantile() -> None:
    assert {'offered("low")', 'capacity("int8")', "latency(0.99)", 'budget_remaining("slo")', "variant"} <= set(COLUMNS)
    assert {"batch_size", "batch_size(0.5)", "breaker", 'breaker("int8")', "layer_drift"} <= set(COLUMNS)
    assert not {"capacity", "health"} & set(COLUMNS)
    assert 'gpu_clocks_event("sw_power_cap")' in COLUMNS
    assert not [name for name in COLUMNS if name.startswith(("burn_rate", "time_of_day"))]


def test_what_only_a_rule_names_is_recorded_where_it_cannot_be_counted_anew() -> None:
    expressions = [
        'gpu_xid_errors("5m") > 0 || layer_drift("conv1") > max(1.5, alert("Hot", "rack", "a"))',
        'burn_rate("slo", "1h") > 2 && latency(0.9) > 1s && time_of_day("UTC") > 8 && offered("low") > 1',
    ]
    rules = [{"name": text, "when": text, "action": {"precision": "down"}} for text in expressions]
    document = {"apiVersion": "sloctl/v1", "kind": "Policy", "metadata": {"name": "p"}}
    policies = [PolicyDocument.model_validate({**document, "spec": {"model": m, "rules": rules}}) for m in "mo"]
    found = trace.columns(VOCABULARY, "m", policies)
    assert found == (*COLUMNS, 'gpu_xid_errors("5m")', 'layer_drift("conv1")', 'alert("Hot", "rack", "a")')


@given(st.floats(allow_nan=True, allow_infinity=False, width=32), st.booleans(), st.sampled_from(["fp32", "int8"]))
def test_a_row_is_read_as_it_was_written(rate: float, throttled: bool, variant: str) -> None:
    facts = StaticFacts({"offered_rate": rate, "gpu_throttled": throttled, "variant": variant})
    decision = Decision("p", "m", 'r, "x"', "precision:down", "fp32", "int8", "", {}, False, 0.0)
    lines = trace.header(COLUMNS) + trace.row(1000.25, COLUMNS, facts, [decision])
    times, (row,) = trace.read(lines.splitlines(), 10)
    assert times == [1000.25]
    assert row[fact_key("offered_rate")] == pytest.approx(rate, rel=1e-5, nan_ok=True)
    assert (row[fact_key("gpu_throttled")], row[fact_key("variant")]) == (throttled, variant)
    assert math.isnan(float(row[fact_key("latency(0.5)")]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no column `at`"),
        ("offered_rate\n1\n", "names no column `at`"),
        ("at,offered_rate\n1\n", "line 2: 1 fields where the first line names 2"),
        ("at,offered_rate\n1,many\n", "line 2: 'many' is not a number"),
        ("at,offered_rate\n2,1\n1,1\n", "do not rise"),
        ("at,offered_rate\n1,1\n2,1\n3,1\n4,1\n", "more than 3 rows"),
    ],
)
def test_what_is_no_trace_is_refused(text: str, message: str) -> None:
    with pytest.raises(trace.TraceError, match=message):
        trace.read(text.splitlines(), 3)


def test_columns_that_are_no_facts_are_passed_over() -> None:
    assert trace.read(["at,offered_rate,notes", "1,2,hello"], 9)[1] == [{("offered_rate", ()): 2.0}]
