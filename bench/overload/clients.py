"""How clients go on after a refusal or a time-out: not at all, naively, or as `sloctl.client` has it."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from sloctl.load.driver import Answer, Send
from sloctl.load.schedule import Arrival

_AGAIN = frozenset({0, 429, 503, 504})


class Clients(Protocol):
    """A way to send; it goes to the drivers' processes, so it must be picklable."""

    def around(self, send: Send) -> Send:
        """A `Send` that makes one or more attempts of each request."""


@dataclass(frozen=True)
class Naive:
    """Tries again after every refusal, error or time-out, `pause` seconds later, whatever the server says."""

    retries: int = 0
    pause: float = 0.05

    def around(self, send: Send) -> Send:
        """A `Send` that makes one or more attempts of each request."""

        async def insist(arrival: Arrival) -> Answer:
            answer = await send(arrival)
            for _ in range(self.retries):
                if answer.status not in _AGAIN:
                    break
                await asyncio.sleep(self.pause)
                answer = await send(arrival)
            return answer

        return insist if self.retries else send
