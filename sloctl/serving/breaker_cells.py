"""A breaker on the board: its state at each transition, its counts whenever it is shown."""

from sloctl.admission.breaker import Breaker, BreakerState
from sloctl.board import Board
from sloctl.telemetry.catalogue import BREAKER_KINDS, BREAKER_STATES, BreakerMetrics


class BreakerCells:
    """The cells of one breaker; `labels` are its model or its model and variant."""

    __slots__ = ("_buffered", "_calls", "_entries", "_failures", "_shown", "_slow", "_slow_calls", "_state", "_states")

    def __init__(self, board: Board, metrics: BreakerMetrics, *labels: str) -> None:
        self._states = {state: board.gauge(metrics.state, *labels, state) for state in BREAKER_STATES}
        self._entries = {state: board.counter(metrics.transitions, *labels, state) for state in BREAKER_STATES}
        self._calls = {kind: board.counter(metrics.calls, *labels, kind) for kind in BREAKER_KINDS}
        self._slow_calls = board.counter(metrics.slow_calls, *labels)
        self._buffered = board.gauge(metrics.buffered, *labels)
        self._failures = board.gauge(metrics.failure_ratio, *labels)
        self._slow = board.gauge(metrics.slow_call_ratio, *labels)
        self._state = ""
        self._shown = dict.fromkeys((*BREAKER_KINDS, "slow"), 0)

    def enter(self, state: BreakerState) -> None:
        """Shows the state; an entry into another one is counted, the first after a start is not."""
        if state.value == self._state:
            return
        for name, gauge in self._states.items():
            gauge.set(1.0 if name == state.value else 0.0)
        if self._state:
            self._entries[state.value].inc()
        self._state = state.value

    def show(self, breaker: Breaker, now: float) -> None:
        """Shows counts and rates. The counts on the board outlive this process, so they get what is new."""
        for kind, before in self._shown.items():
            count = getattr(breaker.calls, kind)
            if count != before:
                cell = self._slow_calls if kind == "slow" else self._calls[kind]
                cell.inc(count - before)
                self._shown[kind] = count
        failures, slow = breaker.rates(now)
        self._buffered.set(breaker.results.calls)
        self._failures.set(failures)
        self._slow.set(slow)
