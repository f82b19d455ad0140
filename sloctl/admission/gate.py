"""The gate in front of a model: every reason to refuse a request before it costs anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sloctl.admission.breaker import Breaker
from sloctl.admission.shares import Shares
from sloctl.config.daemon import ModelConfig

_LEAST_WAIT = 0.1  # seconds; a shorter Retry-After only makes a client spin
_SHED_WAIT = 1.0  # a share changes with the control plane's ticks, not with the queue


class Reason(StrEnum):
    """Why a request is refused, as the catalogue's outcome."""

    BREAKER = "breaker_open"
    SHED = "shed"
    OVERLOADED = "overloaded"
    DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal, and the seconds after which another attempt makes sense."""

    reason: Reason
    retry_after: float

    @property
    def outcome(self) -> str:
        """One of the catalogue's OUTCOMES."""
        return self.reason.value


class Gate:
    """Admits or refuses in this order: breaker, share of the class, bounds, deadline; then takes the permit.

    A half-open permit is therefore never spent on a request that is refused for another reason.
    """

    def __init__(self, config: ModelConfig, classes: int, breaker: Breaker) -> None:
        self.breaker = breaker
        self.limit = 0  # requests in flight; 0: only the queue is bounded
        self._shares = Shares(classes)
        self._max_queue = config.max_queue

    def set_shares(self, shares: Sequence[float]) -> None:
        """Admitted shares by class; ValueError for another number of classes."""
        if shares != self._shares.values:
            self._shares.set(shares)

    def admit(
        self, now: float, class_index: int, deadline: float, queued: int, inflight: int, predicted_wait: float
    ) -> int | Refusal:
        """A breaker's token, or why not.

        `deadline` is in the clock of `now`; `queued` counts requests that wait for a batch, `inflight` those
        admitted and not answered; `predicted_wait` is the seconds until this request's own batch would be
        done (NaN where that is not known).
        """
        breaker = self.breaker
        if breaker.refuses(now):
            return Refusal(Reason.BREAKER, max(breaker.retry_after(now), _LEAST_WAIT))
        if not self._shares.admit(class_index):
            return Refusal(Reason.SHED, _SHED_WAIT)
        if queued >= self._max_queue or 0 < self.limit <= inflight:
            # Also for a NaN, max gives its first argument.
            return Refusal(Reason.OVERLOADED, max(_LEAST_WAIT, predicted_wait))
        if now + predicted_wait > deadline:
            return Refusal(Reason.DEADLINE, max(_LEAST_WAIT, now + predicted_wait - deadline))
        token = breaker.acquire(now)
        if token is None:
            return Refusal(Reason.BREAKER, max(breaker.retry_after(now), _LEAST_WAIT))
        return token
