"""Calls over their attempts, on a clock that only sleeping moves."""

import asyncio
import random
import threading
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.client import Caller, InferenceError, RetryBudget, Throttle, ThrottledError


def overloaded(after: float | None = None) -> InferenceError:
    return InferenceError(503, "too many requests wait already", "overloaded", after)


class World:
    """Time, chance, and a server whose answers are played from a list (the last one for ever)."""

    def __init__(self, *answers: object) -> None:
        self.now = 0.0
        self.answers = list(answers)
        self.sent: list[tuple[float, float | None]] = []

    def caller(self, seed: int = 1, **more) -> Caller:
        dice = random.Random(seed)
        return Caller(clock=lambda: self.now, chance=dice.random, sleep=self.sleep, **more)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def send(self, left: float | None) -> object:
        self.sent.append((self.now, left))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def send_async(self, left: float | None) -> object:
        return self.send(left)


def unthrottled() -> Throttle:
    return Throttle(chance=lambda: 1.0)


def test_an_answer_is_given_as_it_is() -> None:
    world = World("y")
    assert world.caller().call(world.send) == "y"
    assert world.sent == [(0.0, None)]


def test_a_refusal_is_tried_again_not_before_the_server_said_and_with_less_time() -> None:
    world = World(overloaded(0.5), "y")
    caller = world.caller(throttle=unthrottled())
    assert caller.call(world.send, timeout=2) == "y"
    (first, left), (second, less) = world.sent
    assert (first, left) == (0.0, 2.0)
    assert 0.5 <= second < 0.6 + 1e-9
    assert less == pytest.approx(2 - second)
    assert caller.counts.retries == 1


def test_it_gives_up_after_three_attempts_with_the_last_error() -> None:
    last = overloaded()
    world = World(overloaded(), overloaded(), last)
    with pytest.raises(InferenceError) as caught:
        world.caller(throttle=unthrottled()).call(world.send)
    assert caught.value is last
    assert len(world.sent) == 3


@pytest.mark.parametrize(
    "error",
    [
        InferenceError(503, "it cannot be answered before its deadline", "deadline", 0.1),
        InferenceError(400, "no input 'z'", "invalid"),
        InferenceError(500, "the engine failed", "engine_error"),
        overloaded(3600),
        ValueError("of ours"),
    ],
)
def test_what_no_attempt_would_better_is_tried_once(error) -> None:
    world = World(error)
    with pytest.raises(type(error)):
        world.caller(throttle=unthrottled()).call(world.send, timeout=10_000)
    assert len(world.sent) == 1


@given(st.floats(0.001, 10), st.lists(st.floats(0, 2), min_size=3, max_size=3), st.integers(0, 2**32))
def test_nothing_is_sent_after_the_deadline_nor_before_the_server_said(timeout, waits, seed) -> None:
    world = World(*map(overloaded, waits))
    with pytest.raises(InferenceError):
        world.caller(seed, throttle=unthrottled()).call(world.send, timeout)
    assert world.now < timeout
    for (before, left), (after, _), wait in zip(world.sent, world.sent[1:], waits, strict=False):
        assert after - before >= wait
        assert left == pytest.approx(timeout - before)


def test_a_sleep_that_ends_after_the_deadline_sends_nothing_more() -> None:
    world = World(overloaded(0.1))
    caller = Caller(
        throttle=unthrottled(), clock=lambda: world.now, chance=lambda: 0.0, sleep=lambda _: world.sleep(10)
    )
    with pytest.raises(InferenceError):
        caller.call(world.send, timeout=1)
    assert len(world.sent) == 1
    assert caller.counts.retries == 0


def test_without_time_nothing_is_asked() -> None:
    world = World("y")
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="more than 0"):
            world.caller().call(world.send, timeout)
    assert not world.sent


async def test_the_same_holds_for_coroutines() -> None:
    world = World(overloaded(0.001), "y")
    caller = Caller(throttle=unthrottled(), chance=lambda: 0.0)
    assert await caller.call_async(world.send_async, timeout=5) == "y"
    assert len(world.sent) == 2
    assert world.sent[1][1] < world.sent[0][1]
    world = World(InferenceError(400, "no"))
    with pytest.raises(InferenceError):
        await caller.call_async(world.send_async)
    assert len(world.sent) == 1


async def test_a_cancelled_call_is_not_tried_again() -> None:
    caller, begun = Caller(), asyncio.Event()

    async def send(_: float | None) -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(caller.call_async(send))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert caller.counts.retries == 0


# Storms

CLIENTS, EACH, RESERVE = 20, 500, 10


def storm(more=dict) -> tuple[int, int]:
    """How many requests many clients sent to a server that refuses all, and how many they refused themselves."""
    sent = throttled = 0
    for seed in range(CLIENTS):
        world = World(overloaded(0.1))
        caller = world.caller(seed, budget=RetryBudget(0.1, RESERVE), **more())
        for _ in range(EACH):
            try:
                caller.call(world.send, timeout=5)
            except ThrottledError:
                throttled += 1
            except InferenceError:
                pass
            world.now += 0.01
        assert len(world.sent) == EACH - caller.counts.throttled + caller.counts.retries
        sent += len(world.sent)
    return sent, throttled


def test_the_budget_alone_bounds_a_retry_storm() -> None:
    sent, throttled = storm(lambda: {"throttle": unthrottled()})
    requests = CLIENTS * EACH
    assert throttled == 0
    assert requests < sent <= 1.1 * requests + CLIENTS * RESERVE


def test_with_the_throttle_a_storm_dies() -> None:
    sent, throttled = storm()
    requests = CLIENTS * EACH
    assert sent <= 0.2 * requests
    assert throttled >= 0.8 * requests


def test_threads_share_one_caller_without_losing_a_count() -> None:
    caller = Caller(throttle=unthrottled(), budget=RetryBudget(0.1, RESERVE), chance=lambda: 0.0, sleep=lambda _: None)

    def refuse(_: float | None) -> None:
        raise overloaded()

    def run() -> None:
        for _ in range(500):
            with pytest.raises(InferenceError):
                caller.call(refuse)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caller.counts.requests == 4000
    assert caller.counts.retries <= 0.1 * 4000 + RESERVE


def test_a_retry_that_the_budget_forbids_is_no_request_to_the_throttle() -> None:
    answers = ([overloaded()] * 4 + ["y"] * 6) * 20  # the server takes six in ten, which is more than one in two
    world, throttle = World(*answers), unthrottled()
    caller = world.caller(throttle=throttle, budget=RetryBudget(share=0.0, reserve=0.0))
    for _ in answers:
        with suppress(InferenceError):
            caller.call(world.send)
    assert len(world.sent) == len(answers)
    assert throttle.probability == 0.0


def test_calls_that_are_cancelled_are_not_held_against_the_server() -> None:
    async def never(_: float | None) -> None:
        await asyncio.Event().wait()

    async def hedge() -> float:
        throttle = unthrottled()
        caller = Caller(throttle=throttle)
        for _ in range(20):
            call = asyncio.create_task(caller.call_async(never))
            await asyncio.sleep(0)
            call.cancel()
            with suppress(asyncio.CancelledError):
                await call
        return throttle.probability

    assert asyncio.run(hedge()) == 0.0
