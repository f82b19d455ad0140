"""The breaker's state machine, by example (interleavings: test_breaker_interleavings)."""

import math

import pytest

from sloctl.admission.breaker import Breaker, BreakerState, Command
from sloctl.config.daemon import BreakerConfig

CONFIG = BreakerConfig(
    failure_rate_threshold=50,
    sliding_window_size=10,
    minimum_number_of_calls=4,
    wait_duration_in_open_state=5.0,
    permitted_number_of_calls_in_half_open_state=3,
    max_wait_duration_in_half_open_state=10.0,
    reclose_ramp=0.0,
)


def call(breaker: Breaker, now: float, *, fails: bool) -> bool:
    """One call that ends at once; whether it was let in."""
    token = breaker.acquire(now)
    if token is None:
        return False
    (breaker.failure if fails else breaker.success)(token, now)
    return True


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker(CONFIG)
    for _ in range(4):
        call(breaker, now, fails=True)
    assert breaker.state is BreakerState.OPEN
    return breaker


def half_opened() -> tuple[Breaker, list[int]]:
    """At 5 s, with all permits out."""
    breaker = opened()
    tokens = [breaker.acquire(5.0) for _ in range(3)]
    assert breaker.state is BreakerState.HALF_OPEN
    return breaker, [token for token in tokens if token is not None]


@pytest.mark.parametrize(
    ("results", "state"),
    [
        pytest.param("fff", "closed", id="failures before the minimum do not trip"),
        pytest.param("ffff", "open", id="all failed at the minimum trips"),
        pytest.param("ffss", "open", id="the threshold itself trips, also on a success"),
        pytest.param("fsss", "closed", id="a quarter failed does not"),
        pytest.param("fsss" * 6, "closed", id="the window forgets old failures"),
        pytest.param("s" * 10 + "fffff", "open", id="half of the window trips"),
    ],
)
def test_closed_judges_its_window(results: str, state: str) -> None:
    breaker = Breaker(CONFIG)
    for index, result in enumerate(results):
        call(breaker, index * 0.01, fails=result == "f")
    assert breaker.state == state


def test_open_refuses_until_its_wait_is_over() -> None:
    breaker = opened(now=1.0)
    assert breaker.acquire(5.9) is None
    assert breaker.retry_after(5.0) == pytest.approx(1.0)
    assert breaker.acquire(6.0) is not None
    assert breaker.state is BreakerState.HALF_OPEN


def test_a_thousand_at_expiry_get_exactly_the_permits() -> None:
    breaker = opened()
    assert sum(breaker.acquire(5.0) is not None for _ in range(1000)) == 3


@pytest.mark.parametrize(
    ("results", "state"),
    [
        pytest.param("sss", "closed", id="all probes well closes"),
        pytest.param("ssf", "closed", id="a third failed is under the threshold"),
        pytest.param("sff", "open", id="two thirds failed opens"),
        pytest.param("ff", "half_open", id="no verdict before all probes ended"),
    ],
)
def test_half_open_judges_its_probes(results: str, state: str) -> None:
    breaker, tokens = half_opened()
    for token, result in zip(tokens, results, strict=False):
        (breaker.failure if result == "f" else breaker.success)(token, 5.1)
    assert breaker.state == state


def test_a_cancelled_probe_gives_its_permit_back() -> None:
    breaker, tokens = half_opened()
    assert breaker.refuses(5.1)
    breaker.release(tokens[0])
    assert breaker.acquire(5.2) is not None
    assert breaker.acquire(5.2) is None


def test_probes_that_never_return_open_it_and_it_probes_again() -> None:
    breaker, _ = half_opened()
    assert breaker.acquire(15.0) is None
    assert breaker.state is BreakerState.OPEN
    assert breaker.acquire(20.0) is not None


def test_a_lost_probe_among_good_ones_does_not_open_it() -> None:
    breaker, tokens = half_opened()
    breaker.success(tokens[0], 5.1)
    breaker.success(tokens[1], 5.1)
    breaker.acquire(15.0)
    assert breaker.state is BreakerState.CLOSED
    breaker.failure(tokens[2], 15.1)
    assert breaker.results.calls == 0  # the lost one came back too late to count


def test_a_round_that_closes_when_its_time_is_over_lets_the_call_pass_that_ended_it() -> None:
    breaker, tokens = half_opened()
    breaker.success(tokens[0], 16.0)
    breaker.success(tokens[1], 16.0)
    assert not breaker.refuses(16.0)  # one of three was lost
    assert breaker.state is BreakerState.CLOSED
    again, tokens = half_opened()
    again.success(tokens[0], 16.0)
    again.success(tokens[1], 16.0)
    assert again.acquire(16.0) is not None


def test_few_requests_do_not_end_a_half_open_round() -> None:
    breaker = opened()
    call(breaker, 5.0, fails=False)
    assert call(breaker, 100.0, fails=False)
    assert call(breaker, 200.0, fails=False)
    assert breaker.state is BreakerState.CLOSED


def test_results_of_calls_begun_in_an_older_state_do_not_count() -> None:
    breaker = Breaker(CONFIG)
    early = [breaker.acquire(0.0) for _ in range(8)]
    for token in early[:4]:
        breaker.failure(token or 0, 0.1)
    assert breaker.state is BreakerState.OPEN
    probes = [breaker.acquire(5.1) for _ in range(3)]
    for token in early[4:]:
        breaker.failure(token or 0, 5.2)
    assert breaker.results.calls == 0
    for token in probes:
        breaker.success(token or 0, 5.3)
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("commands", "state"),
    [
        pytest.param("trip", "open", id="trip opens"),
        pytest.param("trip half_open", "half_open", id="half-open does not wait"),
        pytest.param("trip close", "closed", id="close closes"),
        pytest.param("force_open", "forced_open", id="forced open"),
        pytest.param("force_open auto", "closed", id="auto ends forced open"),
        pytest.param("disable auto", "closed", id="auto ends disabled"),
        pytest.param("metrics_only", "metrics_only", id="metrics only"),
        pytest.param("metrics_only auto", "closed", id="auto ends metrics only"),
        pytest.param("trip auto", "open", id="auto leaves an open breaker to itself"),
    ],
)
def test_commands(commands: str, state: str) -> None:
    breaker = Breaker(CONFIG)
    for command in commands.split():
        breaker.command(Command(command), 1.0)
    assert breaker.state == state


def test_forced_open_outlasts_every_wait_and_disabled_every_failure() -> None:
    breaker = Breaker(CONFIG)
    breaker.command(Command.FORCE_OPEN, 0.0)
    assert breaker.acquire(1e6) is None
    assert breaker.retry_after(1e6) == 5.0
    breaker.command(Command.DISABLE, 1e6)
    assert all(call(breaker, 1e6, fails=True) for _ in range(100))


def test_a_breaker_that_is_not_enabled_stays_disabled_under_auto() -> None:
    breaker = Breaker(BreakerConfig(enabled=False))
    breaker.command(Command.AUTO, 0.0)
    assert breaker.state is BreakerState.DISABLED


def test_transitions_are_told_in_order() -> None:
    seen: list[BreakerState] = []
    breaker = Breaker(CONFIG, seen.append)
    for _ in range(4):
        call(breaker, 0.0, fails=True)
    for _ in range(3):
        call(breaker, 6.0, fails=False)
    assert seen == ["open", "half_open", "closed"]


def test_a_minimum_above_the_window_is_the_window() -> None:
    breaker = Breaker(BreakerConfig(sliding_window_size=5, minimum_number_of_calls=100))
    for _ in range(5):
        call(breaker, 0.0, fails=True)
    assert breaker.state is BreakerState.OPEN


# --- metrics only and disabled


def test_metrics_only_counts_and_never_refuses() -> None:
    breaker = Breaker(CONFIG)
    breaker.command(Command.METRICS_ONLY, 0.0)
    assert all(call(breaker, 0.0, fails=True) for _ in range(20))
    assert (breaker.state, breaker.results.calls, breaker.results.failures) == ("metrics_only", 10, 10)
    assert breaker.rates(0.0) == (1.0, 0.0)
    assert breaker.steady


def test_disabled_keeps_no_results() -> None:
    breaker = Breaker(BreakerConfig(enabled=False))
    for _ in range(5):
        call(breaker, 0.0, fails=True)
    assert (breaker.results.calls, breaker.calls.failed) == (0, 5)


# --- slow calls


def test_slow_calls_open_it_though_none_fails() -> None:
    config = CONFIG.model_copy(update={"slow_call_rate_threshold": 75.0, "slow_call_duration_threshold": 0.2})
    breaker = Breaker(config)
    for index, seconds in enumerate([0.1, 0.3, 0.2, 0.25]):
        assert breaker.state is BreakerState.CLOSED, index
        breaker.success(breaker.acquire(0.0) or 0, 0.0, seconds)
    assert breaker.state is BreakerState.OPEN
    assert (breaker.calls.successful, breaker.calls.slow) == (4, 3)
    probes = [breaker.acquire(5.0) or 0 for _ in range(3)]
    for token in probes:
        breaker.success(token, 5.5, 0.5)
    assert breaker.state is BreakerState.OPEN, "probes that are slow do not close it"


# --- the time window


def timed(**settings_: float) -> Breaker:
    return Breaker(CONFIG.model_copy(update={"sliding_window_type": "TIME_BASED", **settings_}))


def test_a_time_window_forgets_by_seconds_and_not_by_calls() -> None:
    breaker = timed(sliding_window_size=10, minimum_number_of_calls=40)
    for _ in range(3):
        call(breaker, 0.5, fails=True)
    assert math.isnan(breaker.rates(0.5)[0]), "too few calls for a rate"
    for _ in range(60):
        call(breaker, 5.0, fails=False)
    assert breaker.rates(9.9) == (pytest.approx(3 / 63), 0.0)
    assert breaker.rates(10.0) == (0.0, 0.0)
    breaker.rates(15.0)
    assert breaker.results.calls == 0
    for _ in range(40):
        call(breaker, 15.0, fails=True)
    assert breaker.state is BreakerState.OPEN


def test_the_minimum_is_not_bounded_by_a_window_of_seconds() -> None:
    breaker = timed(sliding_window_size=2, minimum_number_of_calls=5)
    for _ in range(4):
        call(breaker, 1.0, fails=True)
    assert breaker.state is BreakerState.CLOSED
    call(breaker, 1.9, fails=True)
    assert breaker.state is BreakerState.OPEN


# --- waiting


def reopened(config: BreakerConfig, times: int, chance: float = 0.5) -> list[float]:
    """The waits of a breaker whose probes fail so many times."""
    breaker = Breaker(config, chance=lambda: chance)
    now, waits = 0.0, []
    for _ in range(4):
        call(breaker, now, fails=True)
    for _ in range(times):
        waits.append(breaker.retry_after(now))
        now += waits[-1]
        for _ in range(3):
            assert call(breaker, now, fails=True)
        assert breaker.state is BreakerState.OPEN
    return waits


BACKOFF = {"enable_exponential_backoff": True}


@pytest.mark.parametrize(
    ("update", "chance", "waits"),
    [
        pytest.param({}, 0.0, [5, 5, 5], id="constant"),
        pytest.param(BACKOFF, 0.0, [5, 7.5, 11.25, 16.875], id="half as long again by default"),
        pytest.param(BACKOFF | {"exponential_backoff_multiplier": 3.0}, 0.0, [5, 15, 45], id="three times"),
        pytest.param(
            BACKOFF | {"exponential_max_wait_duration_in_open_state": 8.0}, 0.0, [5, 7.5, 8, 8], id="up to a maximum"
        ),
        pytest.param({"enable_randomized_wait": True}, 0.0, [2.5, 2.5], id="by chance half of it"),
        pytest.param({"enable_randomized_wait": True}, 0.75, [6.25], id="or more than it"),
        pytest.param(
            {"enable_randomized_wait": True, "randomized_wait_factor": 0.1}, 0.0, [4.5], id="or a little less"
        ),
    ],
)
def test_waits(update: dict[str, float], chance: float, waits: list[float]) -> None:
    assert reopened(CONFIG.model_copy(update=update), len(waits), chance) == pytest.approx(waits)


def test_without_a_maximum_a_wait_grows_to_an_hour() -> None:
    assert max(reopened(CONFIG.model_copy(update=BACKOFF), 100)) == 3600.0


def test_a_breaker_that_was_closed_for_good_begins_with_the_first_wait() -> None:
    breaker = Breaker(CONFIG.model_copy(update=BACKOFF | {"reclose_ramp": 10.0}))
    for _ in range(4):
        call(breaker, 0.0, fails=True)
    for _ in range(3):
        call(breaker, 5.0, fails=True)
    for _ in range(3):
        call(breaker, 12.5, fails=False)
    assert breaker.state is BreakerState.CLOSED
    for _ in range(4):
        call(breaker, 23.0, fails=True)
    assert breaker.retry_after(23.0) == pytest.approx(5.0)


def test_without_calls_it_turns_half_open_by_itself_only_if_told_to() -> None:
    name = "automatic_transition_from_open_to_half_open_enabled"
    for automatic, state in ((False, BreakerState.OPEN), (True, BreakerState.HALF_OPEN)):
        breaker = Breaker(CONFIG.model_copy(update={name: automatic}))
        breaker.command(Command.TRIP, 0.0)
        breaker.tick(4.9)
        assert breaker.state is BreakerState.OPEN
        breaker.tick(5.0)
        assert breaker.state is state


# --- the ramp


def ramping(ramp: float = 10.0) -> Breaker:
    """Closed by its probes at 5 s."""
    breaker = Breaker(CONFIG.model_copy(update={"reclose_ramp": ramp}))
    breaker.command(Command.TRIP, 0.0)
    for _ in range(3):
        call(breaker, 5.0, fails=False)
    assert breaker.state is BreakerState.CLOSED
    return breaker


def test_a_rising_share_of_calls_passes_after_half_open() -> None:
    breaker = ramping()
    passed = []
    for second in range(5, 16):
        passed.append(sum(call(breaker, second, fails=False) for _ in range(100)))
    assert passed == [pytest.approx(share, abs=1.01) for share in (10, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)]
    assert breaker.steady


def test_the_share_of_a_batch_is_that_of_its_calls() -> None:
    breaker = ramping()
    assert breaker.take(10.0, 32) == 17, "half of them, and the first call of a ramp"
    assert breaker.take(10.0, 1) + breaker.take(10.0, 1) == 1


def test_the_first_call_of_a_ramp_passes() -> None:
    breaker = ramping()
    assert not breaker.refuses(5.1)
    assert breaker.acquire(5.1) is not None
    assert breaker.acquire(5.1) is None
    assert breaker.retry_after(5.1) == 0.0


def test_as_many_failures_as_there_are_permits_open_it_again_in_the_ramp() -> None:
    breaker = ramping(ramp=1000.0)
    failures = 0
    while breaker.state is BreakerState.CLOSED:
        failures += call(breaker, 6.0, fails=True)
    assert failures == 3, "not the four that it takes otherwise"


def test_a_commanded_close_has_no_ramp() -> None:
    breaker = Breaker(CONFIG.model_copy(update={"reclose_ramp": 10.0}))
    breaker.command(Command.TRIP, 0.0)
    breaker.command(Command.CLOSE, 1.0)
    assert breaker.steady
