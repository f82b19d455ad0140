"""A breaker that is half-open, under random interleavings: never more probes than permits, and never wedged.

An interleaving is a random number of steps on a breaker that has just become half-open: a call asks, a call ends well,
badly, without telling, or never, time passes. Over all of them, for each round, calls begun less those that gave their
permit back are at most the permits; and at the end, left alone for as long as its waits last, it lets a call pass.
"""

import random
from collections import Counter
from dataclasses import dataclass

from bench.overload.goals import Finding, count
from sloctl.admission.breaker import Breaker, BreakerState, Command
from sloctl.config.daemon import BreakerConfig

INTERLEAVINGS = 100_000
_CONFIG = BreakerConfig(
    sliding_window_size=8,
    minimum_number_of_calls=4,
    wait_duration_in_open_state=5.0,
    permitted_number_of_calls_in_half_open_state=3,
    max_wait_duration_in_half_open_state=10.0,
)
_ENDS = ("success", "failure", "release", "never")
_PAUSES = (0.0, 0.1, 1.0, 5.0, 11.0)


@dataclass
class Counted:
    """What was seen: interleavings, steps, and of the interleavings those that broke a promise."""

    interleavings: int = 0
    steps: int = 0
    over: int = 0
    wedged: int = 0

    def findings(self) -> list[Finding]:
        """Both promises."""
        told = f"of {self.interleavings:,} interleavings, {self.steps:,} steps"
        return [
            Finding(f"half-open: more probes than permits ({told})", count(0), (float(self.over),)),
            Finding(f"half-open: wedged ({told})", count(0), (float(self.wedged),)),
        ]


def measure(interleavings: int = INTERLEAVINGS, seed: int = 0) -> Counted:
    """Plays them, the same for a seed."""
    numbers, found = random.Random(seed), Counted()
    for _ in range(interleavings):
        steps = numbers.randrange(4, 32)
        over, wedged = _interleaving(numbers, steps)
        found.interleavings += 1
        found.steps += steps
        found.over += over
        found.wedged += wedged
    return found


def _interleaving(numbers: random.Random, steps: int) -> tuple[bool, bool]:
    breaker, now, over = Breaker(_CONFIG), 0.0, False
    breaker.command(Command.HALF_OPEN, now)
    out: list[int] = []
    begun: Counter[int] = Counter()  # by round: probes, less those that gave their permit back
    for _ in range(steps):
        draw = numbers.random()
        if draw < 0.5:
            token = breaker.acquire(now)
            if token is not None:
                out.append(token)
                if breaker.state is BreakerState.HALF_OPEN:
                    begun[token] += 1
        elif draw < 0.85 and out:
            token, end = out.pop(numbers.randrange(len(out))), numbers.choice(_ENDS)
            _end(breaker, token, end, now)
            if end == "release":
                begun[token] -= 1
        else:
            now += numbers.choice(_PAUSES)
        over = over or max(begun.values(), default=0) > _CONFIG.permitted_number_of_calls_in_half_open_state
    return over, _wedged(breaker, now)


def _end(breaker: Breaker, token: int, end: str, now: float) -> None:
    if end == "success":
        breaker.success(token, now)
    elif end == "failure":
        breaker.failure(token, now)
    elif end == "release":
        breaker.release(token)


def _wedged(breaker: Breaker, now: float) -> bool:
    """Whether no call passes after every wait has run out: half-open to its end, open, and half-open again."""
    waits = (_CONFIG.max_wait_duration_in_half_open_state, _CONFIG.wait_duration_in_open_state)
    for wait in (*waits, *waits):
        now += wait
        if breaker.acquire(now) is not None:
            return False
    return True
