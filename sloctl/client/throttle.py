"""Client-side throttling as in Google's SRE book, chapter "Handling Overload", with a way back.

Algorithm. Over the last two minutes a client counts the requests that it was asked to send and those that the
server took on. It refuses a request itself with the probability max(0, (requests - K accepts) / (requests + 1)).
While the server takes more than one in K that is 0, and under any overload the client sends about K times what is
taken.

What differs from the book. By the formula alone a client whose requests have all been refused for a while sends one
in a window, and needs several windows to be back: minutes after the server is. So no more than `most` are refused,
as in Envoy's admission control; and once the server has taken ten in a row, the past is forgotten. A server that
takes one in two does that in one of a thousand tries.

Time and space: O(1) a request, a ring of 60 slots. Locking: none.
"""

import random
import time
from collections.abc import Callable

_SLOTS = 60
_BACK = 10


class _Window:
    """Two counts over the last `_SLOTS` slots of time; it subtracts what it evicts."""

    def __init__(self, slot: int = 0) -> None:
        self._ring = [(0, 0)] * _SLOTS
        self._slot = slot
        self.requests = self.accepts = 0

    def turn(self, slot: int) -> None:
        """Forgets what is too old at `slot`; a time before the latest changes nothing."""
        for each in range(self._slot + 1, min(slot, self._slot + _SLOTS) + 1):
            requests, accepts = self._ring[each % _SLOTS]
            self.requests -= requests
            self.accepts -= accepts
            self._ring[each % _SLOTS] = (0, 0)
        self._slot = max(slot, self._slot)

    def add(self, requests: int, accepts: int) -> None:
        """Counts in the latest slot."""
        before = self._ring[self._slot % _SLOTS]
        self._ring[self._slot % _SLOTS] = (before[0] + requests, before[1] + accepts)
        self.requests += requests
        self.accepts += accepts


class Throttle:
    """Says which requests to one server are worth sending. `ratio` is K; `window` and `clock` are in seconds."""

    def __init__(
        self,
        ratio: float = 2.0,
        window: float = 120.0,
        most: float = 0.9,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not (ratio >= 1 and window > 0 and 0 <= most <= 1):
            said = f"ratio is {ratio}, window {window}, most {most}"
            raise ValueError(f"{said}; expected at least 1, more than 0, and 0 to 1")
        self._ratio, self._width, self._most = ratio, window / _SLOTS, most
        self._clock, self._chance = clock, chance
        self._began = clock()
        self._window = _Window()
        self._in_a_row = 0

    def allows(self) -> bool:
        """Whether to send a request. One that is sent counts once `accepted` or `refused` tells its fate.

        Until then it says nothing of the server: many requests in flight at once are no sign that it takes on none.
        """
        probability = self.probability
        if probability <= 0 or self._chance() >= probability:
            return True
        self._window.add(1, 0)
        return False

    def accepted(self) -> None:
        """The server took a request on, whatever came of it."""
        self._turn()
        self._window.add(1, 1)
        self._in_a_row += 1
        if self._in_a_row >= _BACK and self.probability > 0:
            self._window = _Window(self._slot())

    def refused(self) -> None:
        """The server did not take a request on, or was not there."""
        self._turn()
        self._window.add(1, 0)
        self._in_a_row = 0

    @property
    def probability(self) -> float:
        """With which the next request is refused here."""
        self._turn()
        requests = self._window.requests
        return min(max(0.0, (requests - self._ratio * self._window.accepts) / (requests + 1)), self._most)

    def _turn(self) -> None:
        self._window.turn(self._slot())

    def _slot(self) -> int:
        return int((self._clock() - self._began) / self._width)
