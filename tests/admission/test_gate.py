"""The gate's order of refusals, and what they cost."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.admission.breaker import Breaker, BreakerState, Command
from sloctl.admission.gate import Gate, Reason, Refusal, Ticket
from sloctl.config.daemon import BreakerConfig, ModelConfig
from sloctl.telemetry.catalogue import OUTCOMES

CONFIG = ModelConfig(
    name="digits",
    variants=["fp32"],
    breaker=BreakerConfig(permitted_number_of_calls_in_half_open_state=1),
)


def gate_of(**kwargs: bool) -> Gate:
    gate = Gate(2, Breaker(CONFIG.breaker))
    if kwargs.get("shed"):
        gate.set_shares((1.0, 0.0))
    if kwargs.get("broken"):
        gate.breaker.command(Command.TRIP, 0.0)
    return gate


BAD = {"class_index": 1, "deadline": 1.0, "target": 1.0, "wait": 9.0, "slack": 0.0, "full": True}
GOOD = {"class_index": 0, "deadline": 1.0, "target": 0.5, "wait": 0.1, "slack": 0.1, "full": False}


@pytest.mark.parametrize(
    ("state", "request_", "outcome"),
    [
        pytest.param({"shed": True, "broken": True}, BAD, "breaker_open", id="the breaker speaks first"),
        pytest.param({"shed": True}, BAD, "shed", id="then the share of the class"),
        pytest.param({}, BAD, "overloaded", id="then the bounds"),
        pytest.param({}, GOOD | {"full": True}, "overloaded", id="no room alone refuses"),
        pytest.param({}, GOOD | {"wait": 1.5}, "deadline", id="then the client's deadline"),
        pytest.param({}, GOOD | {"wait": 1.5, "target": math.inf}, "deadline", id="also where there is no objective"),
        pytest.param({}, GOOD | {"wait": 0.6}, "overloaded", id="last the objective"),
        pytest.param({}, GOOD | {"slack": 0.6}, "overloaded", id="which wants to be nearly sure"),
    ],
)
def test_order_of_refusals(state: dict[str, bool], request_: dict[str, float], outcome: str) -> None:
    refusal = gate_of(**state).admit(0.0, **request_)  # type: ignore[arg-type]
    assert isinstance(refusal, Refusal)
    assert refusal.outcome == outcome
    assert 0 < refusal.retry_after < math.inf


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(GOOD, id="a request in good time"),
        pytest.param(GOOD | {"wait": 1.0, "target": math.inf}, id="one that just makes its deadline"),
        pytest.param(GOOD | {"wait": 0.4}, id="one that just keeps to the objective"),
        pytest.param(GOOD | {"wait": math.nan}, id="one without a prediction"),
    ],
)
def test_admitted(request_: dict[str, float]) -> None:
    assert not isinstance(gate_of().admit(0.0, **request_), Refusal)  # type: ignore[arg-type]


@pytest.mark.parametrize(("deadline", "target", "until"), [(1.0, 0.5, 0.5), (0.4, 0.5, 0.4), (9.0, math.inf, 9.0)])
def test_a_ticket_holds_until_the_first_of_deadline_and_objective(deadline, target, until) -> None:
    ticket = gate_of().admit(0.0, **GOOD | {"deadline": deadline, "target": target})  # type: ignore[arg-type]
    assert isinstance(ticket, Ticket)
    assert (ticket.until, ticket.expected) == (until, 0.1)


def test_refused_for_another_reason_a_request_takes_no_probe() -> None:
    gate = gate_of(shed=True, broken=True)
    gate.breaker.command(Command.HALF_OPEN, 1.0)
    for request_ in (BAD, BAD | {"class_index": 0}, GOOD | {"wait": 9.0, "deadline": 2.0}):
        assert isinstance(gate.admit(1.0, **request_), Refusal)  # type: ignore[arg-type]
    assert gate.breaker.state is BreakerState.HALF_OPEN
    token = gate.admit(1.0, **GOOD | {"deadline": 2.0, "target": 2.0})  # type: ignore[arg-type]
    assert not isinstance(token, Refusal)
    assert isinstance(gate.admit(1.0, **GOOD | {"deadline": 2.0, "target": 2.0}), Refusal)  # type: ignore[arg-type]


REQUESTS = st.fixed_dictionaries(
    {"class_index": st.integers(0, 1), "wait": st.sampled_from([0.1, 0.6, 2.0]), "full": st.booleans()}
)


@given(st.lists(REQUESTS, max_size=60), st.floats(0, 1), st.sampled_from([None, Command.TRIP, Command.HALF_OPEN]))
def test_asking_first_whether_it_is_refused_changes_nothing(asked, share, command) -> None:
    """The same answers, and the same state after them, where each request is asked about before it is let in."""
    once, twice = gate_of(), gate_of()
    for gate in (once, twice):
        gate.set_shares((1.0, share))
        if command is not None:
            gate.breaker.command(Command.TRIP, 0.0)
            gate.breaker.command(command, 1.0)
    for request_ in asked:
        arguments = {"now": 1.0, "deadline": 2.0, "target": 1.5, "slack": 0.0} | request_
        expected = once.admit(**arguments)
        assert (twice.refusal(**arguments) or twice.admit(**arguments)) == expected


def test_every_reason_is_an_outcome_of_the_catalogue() -> None:
    assert {reason.value for reason in Reason} <= set(OUTCOMES)
