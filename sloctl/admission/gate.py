"""The gate in front of a model: every reason to refuse a request before it costs anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sloctl.admission.breaker import NO_TOKEN, Breaker
from sloctl.admission.shares import Shares

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


@dataclass(slots=True)
class Ticket:
    """An admitted request: its breaker's token, when its answer is expected, and until when it is worth running.

    `displaces` is whether another one has to give its place up, once it is sure that this one can run.
    """

    token: int
    expected: float
    until: float
    displaces: bool = False


class Gate:
    """Admits or refuses in this order: breaker, share of the class, bounds, deadline; then takes the permit.

    A half-open permit is therefore never spent on a request that is refused for another reason.
    """

    def __init__(self, classes: int, breaker: Breaker) -> None:
        self.breaker = breaker
        self._shares = Shares(classes)

    def set_shares(self, shares: Sequence[float]) -> None:
        """Admitted shares by class; ValueError for another number of classes."""
        if shares != self._shares.values:
            self._shares.set(shares)

    def admit(
        self,
        now: float,
        class_index: int,
        deadline: float,
        target: float,
        wait: float,
        slack: float,
        *,
        full: bool,
        apart: bool = False,
    ) -> Ticket | Refusal:
        """A ticket, or why not.

        `deadline` is the client's and `target` what the objective asks for, both in the clock of `now` (infinite where
        there is none). `wait` is the predicted time in seconds until this request's own batch would be done (NaN where
        that is not known), `slack` what has to be added to be nearly sure, `full` whether there is no room for it,
        `apart` whether the breaker has no say in it.
        """
        refusal = self.refusal(now, class_index, deadline, target, wait, slack, full=full, apart=apart)
        if refusal is not None:
            return refusal
        self._shares.admit(class_index)
        token = NO_TOKEN if apart else self.breaker.acquire(now)
        return self._kept_out(now) if token is None else Ticket(token, now + wait, min(deadline, target))

    def refusal(
        self,
        now: float,
        class_index: int,
        deadline: float,
        target: float,
        wait: float,
        slack: float,
        *,
        full: bool,
        apart: bool = False,
    ) -> Refusal | None:
        """Why `admit` refuses; None, and nothing is changed, where only letting it in can tell.

        What it refuses is counted for the share of its class, as `admit` does.
        """
        breaker, shares = self.breaker, self._shares
        if not apart and not breaker.steady and breaker.refuses(now):
            return self._kept_out(now)
        if not shares.admits(class_index):
            shares.admit(class_index)
            return Refusal(Reason.SHED, _SHED_WAIT)
        expected = now + wait
        if full or expected > deadline or expected + slack > target:
            shares.admit(class_index)
            return _no_room(wait, expected - deadline, expected + slack - target, full=full)
        return None

    def permit(self, now: float) -> int | Refusal:
        """A token for a request that was admitted apart, and is the breaker's matter after all."""
        token = self.breaker.acquire(now)
        return self._kept_out(now) if token is None else token

    def _kept_out(self, now: float) -> Refusal:
        return Refusal(Reason.BREAKER, max(self.breaker.retry_after(now), _LEAST_WAIT))


def _no_room(wait: float, after_deadline: float, after_target: float, *, full: bool) -> Refusal:
    if full:
        # Also for a NaN, max gives its first argument.
        return Refusal(Reason.OVERLOADED, max(_LEAST_WAIT, wait))
    if after_deadline > 0:
        return Refusal(Reason.DEADLINE, max(_LEAST_WAIT, after_deadline))
    return Refusal(Reason.OVERLOADED, max(_LEAST_WAIT, after_target))
