"""Sliding windows over the results of calls: of the last n calls, or of the last n seconds.

Both keep totals and subtract what they evict, so adding and reading cost O(1). A window of calls takes one byte a
call, one of seconds three integers a second.
"""

from math import floor

from sloctl.config.daemon import BreakerConfig

_FAILED, _SLOW = 1, 2


class Window:
    """The totals of a window: `calls`, and how many of them were `failures` or `slow`."""

    __slots__ = ("calls", "failures", "slow")

    def __init__(self) -> None:
        self.calls = self.failures = self.slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Adds a result."""
        raise NotImplementedError

    def advance(self, now: float) -> None:
        """Forgets what is too old by `now`."""

    def add_good(self, now: float, calls: int) -> None:
        """Adds so many results that neither failed nor were slow."""
        for _ in range(calls):
            self.add(now, failed=False, slow=False)

    @property
    def failure_rate(self) -> float:
        """Failures in per cent of the calls, 0 without any."""
        return 100.0 * self.failures / self.calls if self.calls else 0.0

    @property
    def slow_call_rate(self) -> float:
        """Slow calls in per cent of the calls, 0 without any."""
        return 100.0 * self.slow / self.calls if self.calls else 0.0


class CallWindow(Window):
    """A ring of the last `size` results."""

    __slots__ = ("_at", "_flags", "_size")

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._flags = bytearray(size)
        self._at = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:  # noqa: ARG002  a window of seconds needs it
        """Adds a result and forgets the oldest beyond the window."""
        at = self._at
        if self.calls == self._size:
            evicted = self._flags[at]
            self.failures -= evicted & _FAILED
            self.slow -= evicted >> 1
        else:
            self.calls += 1
        self._flags[at] = failed * _FAILED + slow * _SLOW
        self.failures += failed
        self.slow += slow
        self._at = at + 1 if at + 1 < self._size else 0

    def add_good(self, now: float, calls: int) -> None:
        """The same; where there are only good results already it does not matter which of them are kept."""
        if self.failures or self.slow:
            super().add_good(now, calls)
        else:
            self.calls = min(self.calls + calls, self._size)


class TimeWindow(Window):
    """A ring of `size` buckets of a second, the current one among them."""

    __slots__ = ("_buckets", "_second", "_size")

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._buckets = [(0, 0, 0)] * size
        self._second = -1  # the newest one that has a bucket

    def advance(self, now: float) -> None:
        """Forgets the seconds that the window has left; a clock that goes back stays in the newest second."""
        second = floor(now)
        for passed in range(min(second - self._second, self._size)):
            at = (self._second + 1 + passed) % self._size
            calls, failures, slow = self._buckets[at]
            self.calls -= calls
            self.failures -= failures
            self.slow -= slow
            self._buckets[at] = (0, 0, 0)
        self._second = max(self._second, second)

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """Adds a result to its second."""
        self.advance(now)
        at = self._second % self._size
        calls, failures, slow_calls = self._buckets[at]
        self._buckets[at] = (calls + 1, failures + failed, slow_calls + slow)
        self.calls += 1
        self.failures += failed
        self.slow += slow


def window_of(config: BreakerConfig) -> Window:
    """An empty window as configured."""
    kind = TimeWindow if config.sliding_window_type == "TIME_BASED" else CallWindow
    return kind(config.sliding_window_size)
