"""Rate limits by tenant. Pure.

Algorithm. The generic cell rate algorithm as virtual scheduling (ITU-T I.371, annex A): a token bucket in one number,
the time at which it is full again. A request costs the interval of its tenant's rate and moves that time by it; it is
refused where the time would lie further ahead than a whole burst. In whole nanoseconds, with the interval rounded
up, so that in no stretch of t seconds more than burst + rate·t pass, exactly.

Bounds. A tenant that the configuration names has a bucket for good. Of the others, the `maxTracked` used last have one
each, and a bucket is only forgotten once it is full, when forgetting it loses nothing. Where there is none to forget,
a newcomer draws from the bucket of `others`; one that gets a bucket of its own later begins with what others owe. So
no name escapes its limit by being forgotten, and all of them together pass at most (maxTracked + 1) bursts.

Locking: none; one thread uses it. Time: O(1) a request.
"""

import math
from collections import OrderedDict

from sloctl.config.tenants import OTHERS, Limits, TenantsConfig

_SECOND = 1_000_000_000


class Tenant:
    """Who asks: `label` is the name to count it under, `weight` its part of a queue that it shares."""

    __slots__ = ("_interval", "_tolerance", "full", "label", "name", "rate", "weight")

    def __init__(self, name: str, label: str, limits: Limits, parts: int = 1) -> None:
        """With `parts` processes that serve alike, each has that part of rate and burst, and at least one request."""
        self.name = name
        self.label = label
        self.weight = limits.weight
        self.rate = limits.rate  # as configured
        # A rate without bound costs nothing, and its bucket is always full.
        self._interval = math.ceil(_SECOND * parts / limits.rate)
        self._tolerance = (max(limits.burst // parts, 1) - 1) * self._interval
        self.full = 0  # when its bucket is full again, in nanoseconds

    def wait(self, now: float) -> float:
        """Seconds after which there is a request to take, rounded up to a microsecond; 0 where there is one."""
        over = self.full - int(now * _SECOND) - self._tolerance
        return -(-over // 1000) / 1e6 if over > 0 else 0.0

    def spend(self, now: float) -> float:
        """Takes a request out of the bucket: 0, or what `wait` says, and takes none."""
        wait = self.wait(now)
        if not wait:
            self.full = max(self.full, int(now * _SECOND)) + self._interval
        return wait


NOBODY = Tenant("", "", Limits(math.inf, 1, 1.0))
"""Whose requests are where nobody is told apart."""


class Tenants:
    """All tenants of a process."""

    def __init__(self, config: TenantsConfig, parts: int = 1) -> None:
        """`parts` is how many processes share the work (see `Tenant`)."""
        self.named = {name: Tenant(name, name, limits, parts) for name, limits in config.limits.items()}
        self.others = Tenant(OTHERS, OTHERS, config.shared, parts)
        self._tracked: OrderedDict[str, Tenant] = OrderedDict()
        self.closed = config.unnamed == "refuse"  # whether `others` shall get nothing
        self._config = config
        self._parts = parts

    def __len__(self) -> int:
        return len(self.named) + len(self._tracked) + 1

    def find(self, name: str, now: float) -> Tenant:
        """The tenant of that name, or `others`, where it has nothing of its own."""
        found = self.named.get(name)
        if found is not None:
            return found
        found = self._tracked.get(name)
        if found is not None:
            self._tracked.move_to_end(name)
            return found
        return self._track(name, now) if self._config.unnamed == "own" else self.others

    def _track(self, name: str, now: float) -> Tenant:
        if len(self._tracked) >= self._config.max_tracked:
            oldest = next(iter(self._tracked.values()))
            if oldest.full > int(now * _SECOND):
                return self.others
            del self._tracked[oldest.name]
        made = self._tracked[name] = Tenant(name, OTHERS, self._config.shared, self._parts)
        made.full = self.others.full
        return made
