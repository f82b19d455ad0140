"""How many requests may be in flight at a time: limits that find themselves from what requests take. Pure.

Each variant has one of its own, with its own baseline, so that a switch of precision or another batch size does not
look like an overload. What is taken for normal is measured, not averaged: a request that waits for one batch and runs
in the next (`baseline`, from the latency table as corrected by what is seen). By Little's law a limit L on a variant
that carries X requests a second lets a request take L/X at most; all of these settle where that is `TOLERANCE`
baselines.
"""

import math
from typing import Protocol

TOLERANCE = 1.5  # baselines that a request may take before the limit shrinks
_QUEUE = 4.0  # requests by which the gradient grows a limit that is not too high, once smoothed
_SMOOTHING = 0.2
_BACKOFF = 0.9


class Limit(Protocol):
    """A bound on requests in flight; `value` holds now."""

    value: float

    def observe(self, seconds: float, baseline: float, inflight: int, least: float) -> None:
        """A batch has ended. Its requests took `seconds` in the mean since they were admitted; `inflight` were there
        then. The limit never falls under `least`, with which the device is still busy.
        """


class Fixed:
    """A number from the configuration; infinite for none."""

    __slots__ = ("value",)

    def __init__(self, value: float = math.inf) -> None:
        self.value = value

    def observe(self, seconds: float, baseline: float, inflight: int, least: float) -> None:
        """Changes nothing."""


class Aimd:
    """Additive increase, multiplicative decrease: one more a batch, a tenth less when requests take too long.

    Source: Chiu and Jain, 1989; the factor as in Netflix' concurrency-limits (AIMDLimit).
    """

    __slots__ = ("most", "value")

    def __init__(self, initial: float, most: float) -> None:
        self.value = min(initial, most)
        self.most = most

    def observe(self, seconds: float, baseline: float, inflight: int, least: float) -> None:
        """Grows only where the present limit is made use of: half of it at least."""
        if seconds > TOLERANCE * baseline:
            self.value = max(self.value * _BACKOFF, least)
        elif 2 * inflight >= self.value:
            self.value = min(self.value + 1, self.most)


class Gradient:
    """The limit times how much shorter requests should be, and room for a few more.

    Source: Netflix' concurrency-limits (Gradient2Limit), with the measured baseline in the place of a long-run average,
    which under a lasting overload drifts up to what it should detect.
    """

    __slots__ = ("most", "value")

    def __init__(self, initial: float, most: float) -> None:
        self.value = min(initial, most)
        self.most = most

    def observe(self, seconds: float, baseline: float, inflight: int, least: float) -> None:
        """Grows only where the present limit is made use of: half of it at least."""
        gradient = max(0.5, min(1.0, TOLERANCE * baseline / seconds)) if seconds > 0 else 1.0
        if gradient == 1.0 and 2 * inflight < self.value:
            return
        wanted = self.value * gradient + _QUEUE
        self.value = max(min(self.value + _SMOOTHING * (wanted - self.value), self.most), least)
