"""A circuit breaker with resilience4j's states and settings, on a monotonic clock.

Algorithm. *Closed*: the last `slidingWindowSize` results are kept; once there are `minimumNumberOfCalls` and
the failure rate reaches the threshold, it opens. *Open*: refuses for `waitDurationInOpenState`; the next call
after that finds it half-open. *Half-open*: lets exactly `permittedNumberOfCallsInHalfOpenState` probes begin;
when all have ended, their failure rate opens or closes it. *Forced open* and *disabled* hold until commanded
otherwise.

What differs from resilience4j. A token carries the generation in which its call began, and a result of an
older generation does not count. Half-open cannot wedge: probes without a result after
`maxWaitDurationInHalfOpenState` count as failures; if they do not open it, the round goes on, as does one
in which too few requests came. A cancelled probe gives its permit back.

Locking: none; one thread uses it. Time and space: O(1) a call, one byte a call of the window.
"""

from collections.abc import Callable
from enum import StrEnum

from sloctl.config.daemon import BreakerConfig

_PROBING = 1.0  # seconds; probes are out, and their verdict is near


class BreakerState(StrEnum):
    """The states, under the catalogue's names."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"


class Command(StrEnum):
    """What can be asked of a breaker. AUTO ends a forced or disabled state and changes nothing otherwise."""

    AUTO = "auto"
    TRIP = "trip"
    HALF_OPEN = "half_open"
    CLOSE = "close"
    FORCE_OPEN = "force_open"
    DISABLE = "disable"


_LEADS_TO = {
    Command.TRIP: BreakerState.OPEN,
    Command.HALF_OPEN: BreakerState.HALF_OPEN,
    Command.CLOSE: BreakerState.CLOSED,
    Command.FORCE_OPEN: BreakerState.FORCED_OPEN,
    Command.DISABLE: BreakerState.DISABLED,
}


class Results:
    """A ring of the last results that subtracts what it evicts."""

    __slots__ = ("_at", "_failed", "_size", "calls", "failures")

    def __init__(self, size: int) -> None:
        self._size = size
        self._failed = bytearray(size)
        self._at = self.calls = self.failures = 0

    def add(self, failed: bool) -> None:
        """Adds a result and forgets the oldest beyond the window."""
        at = self._at
        if self.calls == self._size:
            self.failures -= self._failed[at]
        else:
            self.calls += 1
        self._failed[at] = failed
        self.failures += failed
        self._at = at + 1 if at + 1 < self._size else 0

    @property
    def failure_rate(self) -> float:
        """Failures in per cent of the calls in the window, 0 without any."""
        return 100.0 * self.failures / self.calls if self.calls else 0.0


class Breaker:
    """Every token that `acquire` gives ends in exactly one of `success`, `failure` and `release`.

    `now` is monotonic seconds. Where a result comes without it, the time of the latest call that had one is
    taken. `on_transition` is told each state that is entered.
    """

    def __init__(self, config: BreakerConfig, on_transition: Callable[[BreakerState], None] | None = None) -> None:
        self._config = config
        self._on_transition = on_transition
        self._now = 0.0
        self._entered = 0.0
        self._generation = 0
        self._permits = self._pending = 0
        self._minimum = min(config.minimum_number_of_calls, config.sliding_window_size)
        self.results = Results(config.sliding_window_size)
        self.state = BreakerState.CLOSED if config.enabled else BreakerState.DISABLED

    def acquire(self, now: float) -> int | None:
        """A token if the call may begin, else None."""
        if self.refuses(now):
            return None
        if self.state is not BreakerState.HALF_OPEN:
            return self._generation
        self._permits -= 1
        self._pending += 1
        return self._generation

    def refuses(self, now: float) -> bool:
        """Whether `acquire` would give None, without taking a permit."""
        self._now = now
        if self._lets_pass:
            return False
        self._pass_time(now)  # which may close it: the probes that were lost are judged with the others
        return not self._lets_pass and (self.state is not BreakerState.HALF_OPEN or self._permits == 0)

    @property
    def _lets_pass(self) -> bool:
        return self.state is BreakerState.CLOSED or self.state is BreakerState.DISABLED

    def success(self, token: int, now: float | None = None) -> None:
        """The call gave a result."""
        if token == self._generation:
            self._record(False, now)

    def failure(self, token: int, now: float | None = None) -> None:
        """The call failed in a way that tells against the engine."""
        if token == self._generation:
            self._record(True, now)

    def release(self, token: int) -> None:
        """The call ended without telling anything: cancelled, shed later, the client's mistake."""
        if token == self._generation and self.state is BreakerState.HALF_OPEN:
            self._pending -= 1
            self._permits += 1

    def retry_after(self, now: float) -> float:
        """Seconds after which another attempt makes sense; 0 when calls pass."""
        if not self.refuses(now):
            return 0.0
        if self.state is BreakerState.FORCED_OPEN:
            return self._config.wait_duration_in_open_state
        left = max(self._entered + self._limit() - now, 0.0)
        return left if self.state is BreakerState.OPEN else min(left, _PROBING)

    def command(self, command: Command, now: float) -> None:
        """Carries out a command; one that asks for the present state changes nothing."""
        self._now = now
        target = _LEADS_TO.get(command)
        if target is None and self.state in {BreakerState.FORCED_OPEN, BreakerState.DISABLED}:
            target = BreakerState.CLOSED if self._config.enabled else BreakerState.DISABLED
        if target is not None and target is not self.state:
            self._enter(target, now)

    def _limit(self) -> float:
        """How long the present state lasts by itself."""
        if self.state is BreakerState.OPEN:
            return self._config.wait_duration_in_open_state
        return self._config.max_wait_duration_in_half_open_state

    def _pass_time(self, now: float) -> None:
        if now - self._entered < self._limit():
            return
        if self.state is BreakerState.OPEN:
            self._enter(BreakerState.HALF_OPEN, now)
        elif self.state is BreakerState.HALF_OPEN:
            self._reclaim(now)

    def _reclaim(self, now: float) -> None:
        """The half-open round has lasted its time: probes still out have failed, and later results are stale."""
        lost, self._pending = self._pending, 0
        self._generation += 1
        self._entered = now
        for _ in range(lost):
            self.results.add(True)
        if lost:
            # Their permits stay used: as lost probes they are among the results that the verdict waits for.
            self._judge_probes(now, early=True)

    def _record(self, failed: bool, now: float | None) -> None:
        state = self.state
        if state is BreakerState.CLOSED:
            results = self.results
            results.add(failed)
            if (
                results.failures
                and results.calls >= self._minimum
                and results.failure_rate >= self._config.failure_rate_threshold
            ):
                self._enter(BreakerState.OPEN, self._now if now is None else now)
        elif state is BreakerState.HALF_OPEN:
            self._pending -= 1
            self.results.add(failed)
            self._judge_probes(self._now if now is None else now)

    def _judge_probes(self, now: float, *, early: bool = False) -> None:
        """All probes have ended, or (early) some were lost: open if too many failed, close if all are in."""
        complete = self.results.calls >= self._config.permitted_number_of_calls_in_half_open_state
        bad = self.results.failure_rate >= self._config.failure_rate_threshold
        if bad and (complete or early):
            self._enter(BreakerState.OPEN, now)
        elif complete:
            self._enter(BreakerState.CLOSED, now)

    def _enter(self, state: BreakerState, now: float) -> None:
        self._generation += 1
        self._entered = now
        self._now = max(self._now, now)
        self._pending = self._permits = 0
        if state is BreakerState.HALF_OPEN:
            self._permits = self._config.permitted_number_of_calls_in_half_open_state
            self.results = Results(self._permits)
        else:
            self.results = Results(self._config.sliding_window_size)
        self.state = state
        if self._on_transition is not None:
            self._on_transition(state)
