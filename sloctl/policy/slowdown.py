"""How much slower than measured each variant runs now, from what is seen of the serving one. Pure.

Algorithm. A reading is the time that batches took over the time that the same took when the variant was measured. Only
the serving variant has readings; what slows it is its own or its device's, and the difference tells whether another
variant would be any faster:

- **Serving**: the exponential mean of its readings over 10 s. Held without traffic, and forgotten with a half-life of
  five minutes.
- **Others**: a device that is throttled or shared slows all its variants, so they count as slowed as much as the
  serving one. One that was left while it was slow is compared with its successor once that has had 30 s of traffic: if
  the successor is as slow, it was the device; if not, it was the variant, and that is forgotten with the same
  half-life, which doubles each time that it is found so again, up to eightfold: what stays slow is returned to ever
  more rarely.

A reading within a tenth of 1 is what measuring varies by and counts as 1, and so does one below: in batches between
measured sizes a variant may seem faster than it is when it is full. No variant counts as more than ten times slower
than measured, and of the others none as more than four times for its device's sake.
"""

import math
from dataclasses import dataclass

_MEAN = 10.0  # seconds
_SETTLED = 30.0  # seconds of traffic, after which the mean is the new variant's own
_QUICK = 2.0  # seconds of the mean that a variant is judged by when it is left, often before the slower one is there
_HALF_LIFE, _LONGEST_LIFE = 300.0, 2400.0  # seconds
_SAME = 1.1
_MOST, _MOST_SHARED = 10.0, 4.0
_LONGEST = 2.0  # seconds that one reading stands for


@dataclass(frozen=True, slots=True)
class _Own:
    """A variant's own part of a slowdown, over that of its successor, as found out at a time."""

    ratio: float
    at: float
    half_life: float

    def now(self, now: float) -> float:
        return _faded(self.ratio, now - self.at, self.half_life)

    def again(self, ratio: float, now: float) -> "_Own":
        """Found out anew."""
        longer = min(2 * self.half_life, _LONGEST_LIFE)
        return _Own(ratio, now, longer if ratio > _SAME else _HALF_LIFE)


_NONE = _Own(1.0, 0.0, _HALF_LIFE / 2)


class Slowdown:
    """The slowdowns of one model's variants. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._serving: str | None = None
        self._level = self._quick = 1.0  # the serving variant's
        self._traffic = 0.0  # seconds with readings since it took over
        self._last: float | None = None
        self._left: dict[str, float] = {}  # levels of variants that were left, not yet compared
        self._own: dict[str, _Own] = {}

    def observe(self, now: float, serving: str, reading: float) -> None:
        """Takes a reading, NaN where no batch ran."""
        passed = 0.0 if self._last is None else min(now - self._last, _LONGEST)
        self._last = now
        if serving != self._serving:
            self._take_over(serving)
        if math.isnan(reading):
            self._level = _faded(self._level, passed, _HALF_LIFE)
            return
        bounded = min(max(reading, 1.0), _MOST)
        self._level += (1 - math.exp(-passed / _MEAN)) * (bounded - self._level)
        self._quick += (1 - math.exp(-passed / _QUICK)) * (bounded - self._quick)
        self._traffic += passed
        if self._left and self._traffic >= _SETTLED:
            for variant, level in self._left.items():
                before = self._own.get(variant, _NONE)
                self._own[variant] = before.again(max(level / self._level, 1.0), now)
            self._left.clear()

    def _take_over(self, serving: str) -> None:
        if self._serving is not None:
            self._left[self._serving] = max(self._level, self._quick)
        self._left.pop(serving, None)
        self._serving, self._traffic, self._quick = serving, 0.0, self._level

    def of(self, variant: str, now: float) -> float:
        """How many times slower than measured a variant would run, at least 1."""
        if variant == self._serving:
            return _gated(self._level)
        shared = min(self._level, _MOST_SHARED)
        if variant in self._left:
            return _gated(max(self._left[variant], shared))
        own = self._own[variant].now(now) if variant in self._own else 1.0
        return _gated(min(shared * own, _MOST))


def _faded(ratio: float, passed: float, half_life: float) -> float:
    return 1 + (ratio - 1) * math.pow(0.5, passed / half_life)


def _gated(level: float) -> float:
    return level if level > _SAME else 1.0
