"""Calls begin, end well or badly, slowly, are cancelled, or hang, in any order, on a clock that jumps.

Never more probes than permits, never wedged: by Hypothesis, which shrinks what it finds, and by 10⁵ seeded runs.
"""

import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sloctl.admission.breaker import Breaker, BreakerState, Command
from sloctl.config.daemon import BreakerConfig

PERMITS = 3
PAUSES = (0.0, 0.1, 1.0, 5.0, 11.0, 3600.0)
ENDINGS = ("success", "failure", "slow", "release", "hang")
CONFIGS = [
    BreakerConfig(
        failure_rate_threshold=50,
        slow_call_duration_threshold=0.5,
        sliding_window_type=kind,
        sliding_window_size=10,
        minimum_number_of_calls=4,
        wait_duration_in_open_state=5.0,
        enable_exponential_backoff=ramp > 0,
        exponential_max_wait_duration_in_open_state=20.0 if ramp else None,
        enable_randomized_wait=ramp > 0,
        permitted_number_of_calls_in_half_open_state=PERMITS,
        max_wait_duration_in_half_open_state=10.0,
        automatic_transition_from_open_to_half_open_enabled=ramp > 0,
        reclose_ramp=ramp,
    )
    for kind in ("COUNT_BASED", "TIME_BASED")
    for ramp in (0.0, 10.0)
]


class Interleaving:
    """A breaker with calls in flight. It knows no internals: a half-open round is a stay in that state."""

    def __init__(self, config: BreakerConfig, chance: random.Random) -> None:
        self.breaker = Breaker(config, self._entered, chance.random)
        self.now = 0.0
        self.out: list[tuple[int, int]] = []  # token and round of the calls in flight
        self.round = 0  # counts the states that were entered
        self.begun: Counter[int] = Counter()  # probes of a round that began and did not give their permit back
        self.told = 0  # bad results since the last state

    def _entered(self, state: BreakerState) -> None:
        self.round += 1
        self.told = 0

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.breaker.tick(self.now)

    def begin(self, calls: int) -> None:
        refuses = self.breaker.refuses(self.now)
        taken = self.breaker.take(self.now, calls)
        ramps = self.breaker.state is BreakerState.CLOSED and not self.breaker.steady
        assert refuses == (taken == 0) or ramps
        assert taken == calls or not self.breaker.steady
        self.out += [(self.breaker.generation, self.round)] * taken
        if self.breaker.state is BreakerState.HALF_OPEN:
            self.begun[self.round] += taken

    def end(self, which: int, how: str) -> None:
        token, began = self.out.pop(which)
        if how == "hang":
            return
        if how == "release":
            current = token == self.breaker.generation
            self.begun[began] -= current and self.breaker.state is BreakerState.HALF_OPEN
            self.breaker.release(token)
            return
        before = self.breaker.state
        self.told += how != "success"
        told = self.told
        if how == "failure":
            self.breaker.failure(token, self.now)
        else:
            self.breaker.success(token, self.now, 0.6 if how == "slow" else 0.1)
        if before is BreakerState.CLOSED and self.breaker.state is BreakerState.OPEN:
            assert told >= 2, "half of at least three calls must have gone badly"

    def command(self, command: Command) -> None:
        self.breaker.command(command, self.now)

    def check(self) -> None:
        """No more probes than permits."""
        assert self.begun[self.round] <= PERMITS

    def recovers(self) -> None:
        """Never wedged: whatever happened, good calls close it after a bounded time."""
        self.command(Command.AUTO)
        for _ in range(60):
            self.now += 5.0
            token = self.breaker.acquire(self.now)
            if token is not None:
                self.breaker.success(token, self.now)
        assert self.breaker.steady
        assert self.breaker.state is BreakerState.CLOSED


def run(number: int) -> None:
    chance = random.Random(number)
    it = Interleaving(CONFIGS[number % len(CONFIGS)], chance)
    if number % 2:
        it.command(Command.HALF_OPEN)
    for _ in range(30):
        die = chance.random()
        if die < 0.35:
            it.begin(chance.randint(1, 8))
        elif die < 0.85:
            if it.out:
                it.end(chance.randrange(len(it.out)), chance.choice(ENDINGS))
        elif die < 0.98:
            it.wait(chance.choice(PAUSES))
        else:
            it.command(chance.choice(list(Command)))
        it.check()
    it.recovers()


def test_a_thousand_interleavings() -> None:
    for number in range(1000):
        run(number)


@pytest.mark.slow
def test_a_hundred_thousand_interleavings() -> None:
    for number in range(100_000):
        run(number)


def test_interleavings_visit_every_state() -> None:
    """Or the tests above would say little."""
    visited: Counter[str] = Counter()
    for number in range(200):
        chance = random.Random(number)
        it = Interleaving(CONFIGS[number % len(CONFIGS)], chance)
        for _ in range(60):
            it.begin(3)
            while it.out and chance.random() < 0.7:
                it.end(chance.randrange(len(it.out)), chance.choice(("success", "failure", "hang")))
            it.wait(chance.choice(PAUSES[:4]))
            visited[it.breaker.state] += 1
            visited["ramp"] += it.breaker.state is BreakerState.CLOSED and not it.breaker.steady
    assert {"closed", "open", "half_open", "ramp"} <= {state for state, times in visited.items() if times > 100}


class BreakerMachine(RuleBasedStateMachine):
    """The same under Hypothesis."""

    def __init__(self) -> None:
        super().__init__()
        self.it = Interleaving(CONFIGS[0], random.Random(0))

    @rule(config=st.sampled_from(CONFIGS))
    def anew(self, config: BreakerConfig) -> None:
        self.it = Interleaving(config, random.Random(0))

    @rule(seconds=st.sampled_from(PAUSES))
    def wait(self, seconds: float) -> None:
        self.it.wait(seconds)

    @rule(calls=st.integers(1, 8))
    def begin(self, calls: int) -> None:
        self.it.begin(calls)

    @precondition(lambda self: self.it.out)
    @rule(data=st.data(), how=st.sampled_from(ENDINGS))
    def end(self, data: st.DataObject, how: str) -> None:
        self.it.end(data.draw(st.integers(0, len(self.it.out) - 1)), how)

    @rule(command=st.sampled_from(list(Command)))
    def command(self, command: Command) -> None:
        self.it.command(command)

    @invariant()
    def no_more_probes_than_permits(self) -> None:
        self.it.check()

    def teardown(self) -> None:
        self.it.recovers()


BreakerMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBreakerInterleavings = BreakerMachine.TestCase
