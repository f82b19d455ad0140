"""A circuit breaker with resilience4j's states and settings, on a monotonic clock.

Algorithm. *Closed*: results go into a sliding window; once there are `minimumNumberOfCalls` and the rate of failures
or of slow calls reaches its threshold, it opens. *Open*: refuses for `waitDurationInOpenState` (see `backoff`); the
next call after that finds it half-open. *Half-open*: lets exactly `permittedNumberOfCallsInHalfOpenState` probes
begin; when all have ended, their rates open or close it. Closed from there, it *ramps*: for `recloseRamp` it lets a
share of calls pass that rises from a tenth to all, and as many results as half-open has permits suffice to open it
again. *Metrics only* counts and refuses nothing; *disabled* does not even count; both, and *forced open*, hold until
commanded otherwise.

What differs from resilience4j. A token carries the generation in which its call began, and a result of an older
generation does not count. Half-open cannot wedge: probes without a result after `maxWaitDurationInHalfOpenState`
count as failures; if they do not open it, the round goes on, as does one in which too few requests came. A cancelled
probe gives its permit back. The ramp.

Locking: none; one thread uses it. Time and space: O(1) a call, and the window's.
"""

import random
from collections.abc import Callable, Sequence
from math import nan

from sloctl.admission.backoff import wait_in_open_state
from sloctl.admission.states import HELD, LEADS_TO, LETS_ALL_PASS, BreakerState, Command
from sloctl.admission.windows import CallWindow, Window, window_of
from sloctl.config.daemon import BreakerConfig

__all__ = ["NO_TOKEN", "Breaker", "BreakerState", "Calls", "Command"]

NO_TOKEN = -1  # of a call that the breaker does not know: what becomes of it does not count
_PROBING = 1.0  # seconds; probes are out, and their verdict is near
_LEAST_SHARE = 0.1  # of calls at the start of the ramp, as in Envoy's slow start
_SLACK = 1e-9  # ten times 0.1 shall make a whole


class Calls:
    """Calls since the start by what became of them; `slow` ones are among the successful and the failed."""

    __slots__ = ("failed", "ignored", "not_permitted", "slow", "successful")

    def __init__(self) -> None:
        self.successful = self.failed = self.ignored = self.not_permitted = self.slow = 0


class Breaker:
    """Every token that `acquire` or `take` gives ends in exactly one of `success`, `failure` and `release`.

    `now` is monotonic seconds. Where a result comes without it, the time of the latest call that had one is
    taken. `on_transition` is told each state that is entered. `chance` gives numbers in [0, 1) for randomised waits.
    """

    def __init__(
        self,
        config: BreakerConfig,
        on_transition: Callable[[BreakerState], None] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._on_transition = on_transition
        self._chance = chance
        self._now = 0.0
        self._wait = 0.0  # of the present open state
        self._reopenings = 0  # since it was last closed for good
        self._permits = self._pending = 0
        self._credit = 0.0  # of calls, in the ramp
        self._slow_from = config.slow_call_duration_threshold
        size = config.sliding_window_size
        counts = config.sliding_window_type == "COUNT_BASED"
        self._minimum = min(config.minimum_number_of_calls, size) if counts else config.minimum_number_of_calls
        self._few = min(self._minimum, config.permitted_number_of_calls_in_half_open_state)
        self.entered = 0.0  # when the present state was
        self.generation = 0  # the token of a call that begins now
        self.calls = Calls()
        self.results: Window = window_of(config)
        self.state = BreakerState.CLOSED if config.enabled else BreakerState.DISABLED
        self.steady = True  # whether all calls may begin: not refusing, probing or ramping

    def acquire(self, now: float) -> int | None:
        """A token if the call may begin, else None."""
        return self.generation if self.take(now, 1) else None

    def take(self, now: float, calls: int) -> int:
        """How many of so many calls may begin: each of them has the token `generation`."""
        self._now = now
        if not self.steady:
            self._pass_time(now)
        if self.steady:
            return calls
        if self.state is BreakerState.CLOSED:
            return self._take_share(now, calls)
        taken = min(calls, self._permits)
        self._permits -= taken
        self._pending += taken
        return taken

    def refuses(self, now: float) -> bool:
        """Whether `acquire` would give None, without taking a permit. In the ramp only `acquire` can tell."""
        self._now = now
        if self.steady:
            return False
        self._pass_time(now)  # which may close it: the probes that were lost are judged with the others
        return self.state not in LETS_ALL_PASS and self._permits == 0

    def tick(self, now: float) -> None:
        """What has to happen without calls."""
        self._now = now
        waits = self.state is BreakerState.OPEN
        if not self.steady and (not waits or self._config.automatic_transition_from_open_to_half_open_enabled):
            self._pass_time(now)

    def success(self, token: int, now: float | None = None, seconds: float = 0.0) -> None:
        """The call gave a result after so many seconds."""
        self.calls.successful += 1
        self._record(token, now, seconds, failed=False)

    def successes(self, tokens: Sequence[int], now: float, seconds: float = 0.0) -> None:
        """As many successes as there are tokens, of calls that ended together."""
        results = self.results
        if self.state is BreakerState.CLOSED and seconds < self._slow_from and not (results.failures or results.slow):
            self.calls.successful += len(tokens)
            results.add_good(now, tokens.count(self.generation))
            return
        for token in tokens:
            self.success(token, now, seconds)

    def failure(self, token: int, now: float | None = None, seconds: float = 0.0) -> None:
        """The call failed in a way that tells against the engine."""
        self.calls.failed += 1
        self._record(token, now, seconds, failed=True)

    def release(self, token: int) -> None:
        """The call ended without telling anything: cancelled, shed later, the client's mistake."""
        self.calls.ignored += 1
        if token == self.generation and self.state is BreakerState.HALF_OPEN:
            self._pending -= 1
            self._permits += 1

    def retry_after(self, now: float) -> float:
        """Seconds after which another attempt makes sense; 0 when calls pass."""
        if not self.refuses(now):
            return 0.0
        if self.state is BreakerState.FORCED_OPEN:
            return self._config.wait_duration_in_open_state
        left = max(self.entered + self._lasts() - now, 0.0)
        return left if self.state is BreakerState.OPEN else min(left, _PROBING)

    def command(self, command: Command, now: float) -> None:
        """Carries out a command; one that asks for the present state changes nothing."""
        self._now = now
        target = LEADS_TO.get(command)
        if target is None and self.state in HELD:
            target = BreakerState.CLOSED if self._config.enabled else BreakerState.DISABLED
        if target is not None and target is not self.state:
            self._enter(target, now)

    def rates(self, now: float) -> tuple[float, float]:
        """Failures and slow calls in the window, each over its calls in 0..1; NaN before there are enough of them."""
        results = self.results
        results.advance(now)
        if results.calls < self._enough:
            return nan, nan
        return results.failure_rate / 100.0, results.slow_call_rate / 100.0

    @property
    def _ramps(self) -> bool:
        return self.state is BreakerState.CLOSED and not self.steady

    @property
    def _enough(self) -> int:
        """Calls that a verdict wants."""
        if self.state is BreakerState.HALF_OPEN:
            return self._config.permitted_number_of_calls_in_half_open_state
        return self._few if self._ramps else self._minimum

    def _bad(self) -> bool:
        """Whether the results reach a threshold."""
        results, config = self.results, self._config
        return (
            results.failure_rate >= config.failure_rate_threshold
            or results.slow_call_rate >= config.slow_call_rate_threshold
        )

    def _lasts(self) -> float:
        """How long the present state lasts by itself."""
        if self.state is BreakerState.OPEN:
            return self._wait
        if self.state is BreakerState.HALF_OPEN:
            return self._config.max_wait_duration_in_half_open_state
        return self._config.reclose_ramp

    def _pass_time(self, now: float) -> None:
        if self.state is BreakerState.FORCED_OPEN or now - self.entered < self._lasts():
            return
        if self.state is BreakerState.OPEN:
            self._enter(BreakerState.HALF_OPEN, now)
        elif self.state is BreakerState.HALF_OPEN:
            self._reclaim(now)
        else:
            self.steady, self._reopenings = True, 0

    def _take_share(self, now: float, calls: int) -> int:
        """Each call adds the present share to the credit; a whole credit lets one begin."""
        share = max((now - self.entered) / self._config.reclose_ramp, _LEAST_SHARE)
        self._credit += share * calls
        taken = min(int(self._credit + _SLACK), calls)
        self._credit -= taken
        return taken

    def _reclaim(self, now: float) -> None:
        """The half-open round has lasted its time: probes still out have failed, and later results are stale."""
        lost, self._pending = self._pending, 0
        self.generation += 1
        self.entered = now
        for _ in range(lost):
            self.results.add(now, failed=True, slow=False)
        if lost:
            # Their permits stay used: as lost probes they are among the results that the verdict waits for.
            self._judge_probes(now, early=True)

    def _record(self, token: int, now: float | None, seconds: float, *, failed: bool) -> None:
        slow = seconds >= self._slow_from
        if slow:
            self.calls.slow += 1
        state, results = self.state, self.results
        if token != self.generation or state is BreakerState.DISABLED:
            return
        at = self._now if now is None else now
        results.add(at, failed=failed, slow=slow)
        if state is BreakerState.HALF_OPEN:
            self._pending -= 1
            self._judge_probes(at)
        elif (
            state is BreakerState.CLOSED
            and (results.failures or results.slow)
            and results.calls >= self._enough
            and self._bad()
        ):
            self._enter(BreakerState.OPEN, at)

    def _judge_probes(self, now: float, *, early: bool = False) -> None:
        """All probes have ended, or (early) some were lost: open if too many failed, close if all are in."""
        complete = self.results.calls >= self._enough
        if self._bad() and (complete or early):
            self._enter(BreakerState.OPEN, now)
        elif complete:
            self._enter(BreakerState.CLOSED, now)

    def _enter(self, state: BreakerState, now: float) -> None:
        before, self.state = self.state, state
        again = before in (BreakerState.HALF_OPEN, BreakerState.CLOSED) and not self.steady
        self.generation += 1
        self.entered = now
        self._now = max(self._now, now)
        self._pending = self._permits = 0
        self._credit = 1.0  # the first call of a ramp passes
        self.results = window_of(self._config)
        self.steady = state in LETS_ALL_PASS
        if state is BreakerState.HALF_OPEN:
            self._permits = self._config.permitted_number_of_calls_in_half_open_state
            self.results = CallWindow(self._permits)
        elif state is BreakerState.OPEN:
            self._reopenings = self._reopenings + 1 if again else 0
            self._wait = wait_in_open_state(self._config, self._reopenings, self._chance)
        elif state is BreakerState.CLOSED:
            self.steady = before is not BreakerState.HALF_OPEN or self._config.reclose_ramp == 0
            self._reopenings = 0 if self.steady else self._reopenings
        if self._on_transition is not None:
            self._on_transition(state)
