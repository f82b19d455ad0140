"""How clients go on after a refusal or a time-out: not at all, naively, or as `sloctl.client` has it."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from sloctl.client import Caller, InferenceError, ThrottledError
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


class _RefusedError(InferenceError):
    """An answer that was none, as `sloctl.client` wants to be told of it."""

    def __init__(self, answer: Answer) -> None:
        reason = answer.reason or ""
        super().__init__(answer.status or 504, reason, reason, answer.retry_after)  # 504: who did not answer in time
        self.answer = answer


@dataclass(frozen=True)
class Helped:
    """As `sloctl.client` has it: one caller for all requests of a process, and `seconds` for a request in all."""

    seconds: float

    def around(self, send: Send) -> Send:
        """A `Send` that makes one or more attempts of each request, or none."""
        caller = Caller()

        async def attempt(arrival: Arrival) -> Answer:
            answer = await send(arrival)
            if answer.status != 200:
                raise _RefusedError(answer)
            return answer

        async def call(arrival: Arrival) -> Answer:
            try:
                return await caller.call_async(lambda _: attempt(arrival), self.seconds)
            except _RefusedError as refused:
                return refused.answer
            except ThrottledError:
                return Answer(503, reason="throttled")

        return call
