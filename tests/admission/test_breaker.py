"""The breaker's state machine, by example and by a model of every interleaving."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sloctl.admission.breaker import Breaker, BreakerState, Command
from sloctl.config.daemon import BreakerConfig

CONFIG = BreakerConfig(
    failure_rate_threshold=50,
    sliding_window_size=10,
    minimum_number_of_calls=4,
    wait_duration_in_open_state=5.0,
    permitted_number_of_calls_in_half_open_state=3,
    max_wait_duration_in_half_open_state=10.0,
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


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin, end well or badly, are cancelled, or hang, in any order, on a clock that jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(CONFIG, self._entered)
        self.now = 0.0
        self.out: list[tuple[int, str]] = []
        self.held = False  # by a command
        self.failures = 0  # in a row of closed states
        self.entered: list[BreakerState] = []

    def _entered(self, state: BreakerState) -> None:
        if state is BreakerState.OPEN and not self.held and self.breaker_was_closed:
            assert self.failures >= 2, "half of at least four calls must have failed"
        self.failures = 0
        self.entered.append(state)

    @property
    def breaker_was_closed(self) -> bool:
        return not self.entered or self.entered[-1] is BreakerState.CLOSED

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 11.0, 3600.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 8))
    def begin(self, count: int) -> None:
        for _ in range(count):
            refuses = self.breaker.refuses(self.now)
            token = self.breaker.acquire(self.now)
            assert refuses == (token is None)
            if token is not None:
                self.out.append((token, self.breaker.state))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["success", "failure", "release", "hang"]))
    def end(self, data: st.DataObject, how: str) -> None:
        token, _ = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        if how == "failure":
            self.failures += 1
            self.breaker.failure(token, self.now)
        elif how == "success":
            self.breaker.success(token, self.now)
        elif how == "release":
            self.breaker.release(token)

    @rule(command=st.sampled_from(list(Command)))
    def command(self, command: Command) -> None:
        self.held = True
        self.breaker.command(command, self.now)
        self.held = False

    @invariant()
    def no_more_probes_than_permits(self) -> None:
        if self.breaker.state is BreakerState.HALF_OPEN:
            generation = self.breaker._generation
            probes = sum(token == generation for token, _ in self.out)
            assert probes + self.breaker.results.calls <= 3
            assert self.breaker._permits >= 0

    def teardown(self) -> None:
        """Never wedged: whatever happened, good calls close it after a bounded time."""
        if self.breaker.state in {BreakerState.FORCED_OPEN, BreakerState.DISABLED}:
            self.breaker.command(Command.AUTO, self.now)
        for _ in range(40):
            self.now += 5.0
            call(self.breaker, self.now, fails=False)
        assert self.breaker.state is BreakerState.CLOSED


BreakerMachine.TestCase.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
TestBreakerInterleavings = BreakerMachine.TestCase  # 250 × 40: ten thousand steps
