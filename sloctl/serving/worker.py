"""Running batches: the work itself, and a thread for engines that take longer than the loop can spare."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sloctl.engines.base import DeviceLostError, Engine, EngineError, Execution, Flight, Inputs
from sloctl.engines.batch import padded


@dataclass(slots=True)
class BatchResult:
    """What became of a batch: `execution`, or `error` for people.

    `seconds` is the whole run as the data plane sees it; `bad` marks rows with non-finite outputs, None where
    there are none; `requests` is the batch as it ran, for a later profile; `lost` is set where the device is lost to
    this process.
    """

    requests: Sequence[Inputs]
    seconds: float
    execution: Execution | None = None
    error: str = ""
    bad: NDArray[np.bool_] | None = None
    lost: bool = False


def execute(engine: Engine, requests: Sequence[Inputs], rows: int, check_finite: bool, padding: int = 0) -> BatchResult:
    """Runs the requests as one batch, with so many more rows, and checks what came out. Never raises."""
    given = padded(requests, padding) if padding else requests
    started = time.perf_counter()
    try:
        execution = engine.infer(*given)
    except Exception as error:  # whatever a runtime throws fails this batch, not the process
        return _failed(requests, started, error)
    return _judged(execution, requests, rows, padding, check_finite, started)


def execute_soon(
    engine: Engine, requests: Sequence[Inputs], rows: int, check_finite: bool, patience: float, padding: int = 0
) -> BatchResult | Callable[[], BatchResult]:
    """The same, waiting no longer than `patience` seconds; then what is left to call in a thread. Never raises."""
    started = time.perf_counter()
    try:
        flight = engine.begin(*(padded(requests, padding) if padding else requests))
    except Exception as error:
        return _failed(requests, started, error)
    finish = partial(_landed, flight, requests, rows, padding, check_finite, started)
    try:
        return finish() if flight.wait(patience) else finish
    except EngineError:  # its result raises the same, and gives back what it holds
        return finish()


def _landed(
    flight: Flight, requests: Sequence[Inputs], rows: int, padding: int, check_finite: bool, started: float
) -> BatchResult:
    try:
        execution = flight.result()
    except Exception as error:
        return _failed(requests, started, error)
    return _judged(execution, requests, rows, padding, check_finite, started)


def _judged(
    execution: Execution,
    requests: Sequence[Inputs],
    rows: int,
    padding: int,
    check_finite: bool,
    started: float,
) -> BatchResult:
    result = BatchResult(requests, time.perf_counter() - started, execution)
    for name, array in execution.outputs.items():
        if array.ndim == 0 or array.shape[0] != rows + padding:
            message = f"output {name} has not {rows + padding} rows: {array.shape}"
            return BatchResult(requests, result.seconds, error=message)
    if padding:
        execution = replace(execution, outputs={name: array[:rows] for name, array in execution.outputs.items()})
        result.execution = execution
    for array in execution.outputs.values():
        if check_finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            bad: NDArray[np.bool_] = np.logical_not(np.isfinite(array).reshape(rows, -1).all(axis=1))
            result.bad = bad if result.bad is None else np.logical_or(result.bad, bad)
    return result


def _failed(requests: Sequence[Inputs], started: float, error: Exception) -> BatchResult:
    seconds, lost = time.perf_counter() - started, isinstance(error, DeviceLostError)
    message = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
    return BatchResult(requests, seconds, error=message, lost=lost)


def settle(future: "asyncio.Future[Any]") -> Callable[[Any], None]:
    """Gives a result to a future, unless its waiter is gone."""

    def give(result: Any) -> None:
        if not future.done():
            future.set_result(result)

    return give


class EngineThread:
    """A thread that makes one call after another and gives each result to the event loop; more threads by `grow`.

    They are daemon threads: an engine that hangs must not keep the process from ending.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self._name = name
        self._loop = loop
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None]
        self._calls = queue.SimpleQueue()
        self._threads = 0
        self.grow(1)

    def grow(self, threads: int) -> None:
        """Makes at least so many calls at a time from now on."""
        while self._threads < threads:
            self._threads += 1
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def submit(self, call: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Makes `call` in a thread (it must not raise), then `done(result)` on the loop."""
        self._calls.put((call, done))

    def stop(self) -> None:
        """Lets the threads end after what they were given."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            call, done = item
            result = call()
            try:
                self._loop.call_soon_threadsafe(done, result)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del item, call, done, result  # they may hold a client's memory, and the next call may be far away
