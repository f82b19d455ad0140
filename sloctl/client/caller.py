"""Calls with a deadline, a throttle, a retry budget and a retry policy, around whatever sends a request."""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from sloctl.client.budget import RetryBudget
from sloctl.client.errors import ThrottledError
from sloctl.client.failures import Failure, describe
from sloctl.client.retry import Retry
from sloctl.client.throttle import Throttle

Result = TypeVar("Result")


@dataclass(slots=True)
class Counts:
    """`requests` asked for, `throttled` of them not sent; `retries` of them sent again."""

    requests: int = 0
    throttled: int = 0
    retries: int = 0


class _Call:
    """One request over its attempts."""

    __slots__ = ("attempt", "deadline")

    def __init__(self, deadline: float) -> None:
        self.attempt = 1
        self.deadline = deadline


class Caller:
    """One for each server, shared by all that call it: threads, and tasks of event loops.

    `call` and `call_async` give `send` the seconds that are left, None without a `timeout`, so that the deadline is
    carried over the attempts. What `send` raises is judged by `classify`; the last error is raised as it is. Where
    the throttle refuses a request at once, that is ThrottledError.
    """

    def __init__(
        self,
        retry: Retry | None = None,
        budget: RetryBudget | None = None,
        throttle: Throttle | None = None,
        *,
        classify: Callable[[BaseException], Failure] = describe,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.counts = Counts()
        self._retry = retry or Retry()
        self._budget = budget or RetryBudget()
        self._throttle = throttle or Throttle(clock=clock, chance=chance)
        self._classify, self._clock, self._chance, self._sleep = classify, clock, chance, sleep
        self._lock = threading.Lock()  # held for arithmetic only, never while something is sent

    def call(self, send: Callable[[float | None], Result], timeout: float | None = None) -> Result:
        """The result of `send`, tried within `timeout` seconds in all."""
        call = self._begin(timeout)
        while True:
            try:
                result = send(self._left(call))
            except Exception as error:
                pause = self._failed(call, self._classify(error))
                if pause is None:
                    raise
                self._sleep(pause)
                if not self._again(call):
                    raise
            else:
                self._answered()
                return result

    async def call_async(
        self,
        send: Callable[[float | None], Awaitable[Result]],
        timeout: float | None = None,  # noqa: ASYNC109  it is for all attempts, and `send` is told what is left
    ) -> Result:
        """The same for a coroutine function."""
        call = self._begin(timeout)
        while True:
            try:
                result = await send(self._left(call))
            except Exception as error:
                pause = self._failed(call, self._classify(error))
                if pause is None:
                    raise
                await asyncio.sleep(pause)
                if not self._again(call):
                    raise
            else:
                self._answered()
                return result

    def _begin(self, timeout: float | None) -> _Call:
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout is {timeout}; expected more than 0 seconds")
        with self._lock:
            self.counts.requests += 1
            if not self._throttle.allows():
                self.counts.throttled += 1
                raise ThrottledError
            self._budget.pay_in()
        return _Call(inf if timeout is None else self._clock() + timeout)

    def _left(self, call: _Call) -> float | None:
        return None if call.deadline == inf else max(call.deadline - self._clock(), 0.0)

    def _answered(self) -> None:
        with self._lock:
            self._throttle.accepted()

    def _failed(self, call: _Call, failure: Failure) -> float | None:
        """Seconds until the next attempt, None where there is none."""
        with self._lock:
            if failure.accepted:
                self._throttle.accepted()
            else:
                self._throttle.refused()
            pause = self._retry.wait(call.attempt, failure, call.deadline - self._clock(), self._chance())
            # A retry is a request to the throttle, too, but not one that the budget forbids: those would count
            # against a server that was never asked. It is paid for last, when it will be sent.
            if pause is None or not self._budget.left or not self._throttle.allows():
                return None
            self._budget.take()
        return pause

    def _again(self, call: _Call) -> bool:
        """Whether the next attempt begins: not if the sleep before it lasted longer than it was told to."""
        if self._left(call) == 0:
            return False
        with self._lock:
            self.counts.retries += 1
        call.attempt += 1
        return True
