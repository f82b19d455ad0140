"""What happens when a batch has come back: its requests are answered, and what it tells is learned and counted."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sloctl.engines.base import Execution, Tensor
from sloctl.serving.entrance import Entrance
from sloctl.serving.errors import failed
from sloctl.serving.guard import Guard
from sloctl.serving.lane import Lane
from sloctl.serving.pending import Pending
from sloctl.serving.solitude import Solitude
from sloctl.serving.statistics import ModelCells
from sloctl.serving.tracing import Run
from sloctl.serving.variant import Variant
from sloctl.serving.worker import BatchResult


class Completion:
    """Of the batches of one model. Lives on the event loop."""

    __slots__ = (
        "_cells",
        "_clock",
        "_context",
        "_entrance",
        "_guard",
        "_hang_after",
        "_inflight",
        "_lane",
        "_solitude",
        "last_answer",
        "lost",
        "tracing",
    )

    def __init__(
        self,
        cells: ModelCells,
        guard: Guard,
        entrance: Entrance,
        lane: Lane,
        solitude: Solitude,
        inflight: Callable[[Variant], int],
        hang_after: float,
        clock: Callable[[], float],
    ) -> None:
        """`inflight` tells the requests in flight but for those that wait for other variants than the one given."""
        self.tracing = False  # whether some requests have a trace
        self.last_answer = 0.0  # Unix time
        self.lost: Callable[[str], None] = _ignore  # told why when a batch finds the device lost
        self._cells = cells
        self._guard = guard
        self._entrance = entrance
        self._lane = lane
        self._solitude = solitude
        self._inflight = inflight
        self._hang_after = hang_after
        self._clock = clock
        self._context: tuple[Variant, int] | None = None

    def finish(self, batch: list[Pending], rows: int, variant: Variant, result: BatchResult | None) -> None:
        """A batch came back, or (without a result) did not come back in time."""
        cells, requests = self._cells, len(batch)
        cells.executed.inc(requests)
        self._solitude.ran(requests)
        if requests > 1:
            cells.batched.inc(requests)
        now = self._clock()
        if result is None or result.execution is None:
            self._lose(batch, variant, result, now)
            return
        self._entrance.learn(variant, batch, rows, now, self._inflight(variant))
        # With several in flight a run also waits for the one before it, which has come back meanwhile.
        seconds = min(result.seconds, now - self._lane.last(variant))
        variant.timed(variant.sizes.padded(rows), seconds, now)
        variant.remember(result.requests, any(pending.lent for pending in batch), now)
        variant.last_success = now
        variant.failures = 0
        self._count(rows, variant, result.execution, result.bad)
        if self.tracing:
            _trace(batch, Run(variant, rows, result.execution, now - result.seconds, now))
        if result.bad is not None:
            self._part(batch, variant, result.execution.outputs, result.bad, now, seconds)
            return
        self._guard.succeeded(batch, variant, now, seconds)
        if requests == 1:
            batch[0].resolve((variant, result.execution.outputs))
        else:
            _answer(batch, variant, result.execution.outputs)

    def _lose(self, batch: list[Pending], variant: Variant, result: BatchResult | None, now: float) -> None:
        """A run failed, or (without a result) did not come back."""
        self._solitude.end()
        variant.cells.errors.inc()
        message = result.error if result else "a run on it did not come back in time"
        variant.failed(message, now)
        if result is not None and result.lost:
            self.lost(message)
        reason = "engine_error" if result else "engine_hangs"
        seconds = result.seconds if result else self._hang_after
        self.fail(batch, variant, now, seconds, reason, f"the engine failed: {message}")

    def _part(
        self,
        batch: list[Pending],
        variant: Variant,
        outputs: Mapping[str, Tensor],
        bad: NDArray[np.bool_],
        now: float,
        seconds: float,
    ) -> None:
        """Answers the requests whose outputs are finite, and fails the others."""
        start = 0
        for pending in batch:
            end = start + pending.rows
            if bad[start:end].any():
                variant.cells.nonfinite.inc()
                self.fail([pending], variant, now, seconds, "nonfinite", "the model's output holds NaN or infinity")
            else:
                self._guard.succeeded([pending], variant, now, seconds)
                pending.resolve((variant, {name: array[start:end] for name, array in outputs.items()}))
            start = end

    def fail(
        self, batch: list[Pending], variant: Variant | None, now: float, seconds: float, reason: str, message: str
    ) -> None:
        """These requests failed on a variant, or (None) since there was none to run them."""
        self._guard.failed(batch, variant, now, seconds)
        for pending in batch:
            pending.reject(failed(reason, message))

    def _count(self, rows: int, variant: Variant, execution: Execution, bad: NDArray[np.bool_] | None) -> None:
        cells = variant.cells
        self.last_answer = time.time()
        cells.engine.observe(execution.engine_seconds)
        cells.enqueue.observe(execution.enqueue_seconds)
        cells.batch.observe(rows)
        if (padding := variant.sizes.padded(rows) - rows) > 0:
            cells.padding.inc(padding)
        cells.inferences.inc(rows if bad is None else rows - int(bad.sum()))
        context = (variant, execution.context)
        if context != self._context:
            if self._context is not None:
                self._cells.context_switches.inc()
            self._context = context


def _answer(batch: list[Pending], variant: Variant, outputs: Mapping[str, Tensor]) -> None:
    start = 0
    for pending in batch:
        end = start + pending.rows
        pending.resolve((variant, {name: array[start:end] for name, array in outputs.items()}))
        start = end


def _trace(batch: list[Pending], run: Run) -> None:
    for pending in batch:
        if pending.trace is not None:
            pending.trace.run = run


def _ignore(_: str) -> None:
    return
