"""The gate's order of refusals, and what they cost."""

import math

import pytest

from sloctl.admission.breaker import Breaker, BreakerState, Command
from sloctl.admission.gate import Gate, Reason, Refusal
from sloctl.config.daemon import BreakerConfig, ModelConfig
from sloctl.telemetry.catalogue import OUTCOMES

CONFIG = ModelConfig(
    name="digits",
    variants=["fp32"],
    max_queue=4,
    breaker=BreakerConfig(permitted_number_of_calls_in_half_open_state=1),
)


def gate_of(**kwargs: bool) -> Gate:
    gate = Gate(CONFIG, 2, Breaker(CONFIG.breaker))
    gate.limit = 8
    if kwargs.get("shed"):
        gate.set_shares((1.0, 0.0))
    if kwargs.get("broken"):
        gate.breaker.command(Command.TRIP, 0.0)
    return gate


BAD = {"class_index": 1, "deadline": 1.0, "queued": 4, "inflight": 8, "predicted_wait": 9.0}
GOOD = {"class_index": 0, "deadline": 1.0, "queued": 0, "inflight": 0, "predicted_wait": 0.1}


@pytest.mark.parametrize(
    ("state", "request_", "outcome"),
    [
        pytest.param({"shed": True, "broken": True}, BAD, "breaker_open", id="the breaker speaks first"),
        pytest.param({"shed": True}, BAD, "shed", id="then the share of the class"),
        pytest.param({}, BAD, "overloaded", id="then the bounds"),
        pytest.param({}, GOOD | {"queued": 4}, "overloaded", id="a full queue alone refuses"),
        pytest.param({}, GOOD | {"inflight": 8}, "overloaded", id="the concurrency limit alone refuses"),
        pytest.param({}, GOOD | {"predicted_wait": 1.5}, "deadline", id="last the predicted finish"),
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
        pytest.param(GOOD | {"predicted_wait": 1.0}, id="one that just makes its deadline"),
        pytest.param(GOOD | {"predicted_wait": math.nan}, id="one without a prediction"),
        pytest.param(GOOD | {"queued": 3, "inflight": 7}, id="the last that fits"),
    ],
)
def test_admitted(request_: dict[str, float]) -> None:
    assert not isinstance(gate_of().admit(0.0, **request_), Refusal)  # type: ignore[arg-type]


def test_a_limit_of_zero_bounds_nothing() -> None:
    gate = gate_of()
    gate.limit = 0
    assert not isinstance(gate.admit(0.0, 0, 1.0, 0, 10_000, 0.1), Refusal)


def test_refused_for_another_reason_a_request_takes_no_probe() -> None:
    gate = gate_of(shed=True, broken=True)
    gate.breaker.command(Command.HALF_OPEN, 1.0)
    for request_ in (BAD, BAD | {"class_index": 0}, GOOD | {"predicted_wait": 9.0, "deadline": 2.0}):
        assert isinstance(gate.admit(1.0, **request_), Refusal)  # type: ignore[arg-type]
    assert gate.breaker.state is BreakerState.HALF_OPEN
    token = gate.admit(1.0, **GOOD | {"deadline": 2.0})  # type: ignore[arg-type]
    assert not isinstance(token, Refusal)
    assert isinstance(gate.admit(1.0, **GOOD | {"deadline": 2.0}), Refusal)  # type: ignore[arg-type]


def test_every_reason_is_an_outcome_of_the_catalogue() -> None:
    assert {reason.value for reason in Reason} <= set(OUTCOMES)
