"""Engine faults on demand, for tests and the demo: what a real engine does when it breaks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from sloctl.board import Fault
from sloctl.engines.base import (
    DeviceLostError,
    Engine,
    EngineError,
    Execution,
    Flight,
    Inputs,
    Landed,
    LayerInfo,
    LayerTime,
    TensorSpec,
)

_SLOW = 0.2
_POLL = 0.01


class FaultSwitch:
    """The faults that are on now: set by the event loop, read by engine threads."""

    __slots__ = ("faults",)

    def __init__(self) -> None:
        self.faults = Fault.NONE


class DeviceFaults(Protocol):
    """How a device breaks."""

    def lose(self) -> None:
        """Loses the device to this process. Raises DeviceLostError, or the next call to the engine does."""

    def occupy(self, wanted: Callable[[], bool]) -> None:
        """Keeps the device busy while `wanted()`: waits here, or lets the next call to the engine wait."""


class HostFaults:
    """A CPU does not break; so this pretends."""

    def lose(self) -> None:
        """Raises DeviceLostError."""
        raise DeviceLostError("injected fault: the device is lost")

    def occupy(self, wanted: Callable[[], bool]) -> None:
        """Waits."""
        while wanted():
            time.sleep(_POLL)


class FaultyEngine:
    """An engine that behaves as its switch says; probes meet the same faults as requests."""

    def __init__(self, engine: Engine, switch: FaultSwitch, device: DeviceFaults) -> None:
        self._engine = engine
        self._switch = switch
        self._device = device

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Those of the engine behind it."""
        return self._engine.inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """Those of the engine behind it."""
        return self._engine.outputs

    @property
    def max_batch(self) -> int:
        """That of the engine behind it."""
        return self._engine.max_batch

    @property
    def runtime(self) -> str:
        """That of the engine behind it."""
        return self._engine.runtime

    @property
    def memory_bytes(self) -> int:
        """That of the engine behind it."""
        return self._engine.memory_bytes

    @property
    def concurrency(self) -> int:
        """That of the engine behind it."""
        return self._engine.concurrency

    @property
    def layers(self) -> Mapping[str, LayerInfo]:
        """Those of the engine behind it."""
        return self._engine.layers

    def infer(self, *requests: Inputs) -> Execution:
        """Runs the batch, spoilt by what the switch says. Raises EngineError."""
        return self._run(lambda: self._engine.infer(*requests))

    def begin(self, *requests: Inputs) -> Flight:
        """Hands over to the engine behind it; with a fault on, all of it happens in the call. Raises EngineError."""
        return Landed(self.infer(*requests)) if self._switch.faults else self._engine.begin(*requests)

    def check(self, inputs: Inputs) -> Execution:
        """Checks the engine, spoilt in the same way. Raises EngineError."""
        return self._run(lambda: self._engine.check(inputs))

    def _run(self, run: Callable[[], Execution]) -> Execution:
        if not self._switch.faults:
            return run()
        if self._switch.faults & Fault.HANG:
            self._device.occupy(lambda: bool(self._switch.faults & Fault.HANG))
        if self._switch.faults & Fault.SLOW:
            time.sleep(_SLOW)
        if self._switch.faults & Fault.STICKY:
            self._device.lose()
        if self._switch.faults & Fault.ERROR:
            raise EngineError("injected fault: the run failed")
        execution = run()
        return _spoilt(execution) if self._switch.faults & Fault.NONFINITE else execution

    def profile(self, *requests: Inputs) -> Sequence[LayerTime]:
        """Profiles the engine behind it; faults leave that alone."""
        return self._engine.profile(*requests)

    def close(self) -> None:
        """Closes the engine behind it."""
        self._engine.close()


def _spoilt(execution: Execution) -> Execution:
    outputs = {
        name: np.full_like(array, np.nan) if array.dtype.kind == "f" else array
        for name, array in execution.outputs.items()
    }
    return replace(execution, outputs=outputs)
