"""GPU facts from NVIDIA's management library, read once a tick.

Names follow Prometheus' base units. A value that a GPU does not support is left out, remembered with its
reason and not asked for again. Without a driver the source stays up, says why in `state` and tries again,
after longer and longer pauses; so it does when a driver goes away while running.
"""

import importlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from sloctl_exporters.nvml_probes import (
    CLOCKS_THROTTLED,
    GPU_INFO,
    GPUS_PRESENT,
    MEMORY_TOTAL,
    MEMORY_USED,
    NVML_METRICS,
    NVML_UP,
    POWER,
    PROBES,
    TEMPERATURE,
    UTILIZATION,
    Probe,
)
from sloctl.telemetry.families import Family

__all__ = ["NVML_METRICS", "GpuFacts", "NvmlSource"]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to reach the driver
_UNSUPPORTED = ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_PERMISSION", "ARGUMENT_VERSION_MISMATCH", "DEPRECATED")
_DRIVER_GONE = ("UNINITIALIZED", "DRIVER_NOT_LOADED", "LIBRARY_NOT_FOUND", "LIB_RM_VERSION_MISMATCH")

log = structlog.get_logger("sloctl.nvml")


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU for policies: bytes, degrees Celsius, ratio 0..1, watts; NaN where it cannot be told.

    `throttled` is true while heat or the hardware itself slows the clocks.
    """

    memory_used: float
    memory_total: float
    temperature: float
    utilization: float
    power: float
    throttled: bool


@dataclass(slots=True)
class _Gpu:
    index: int
    handle: Any
    uuid: str
    info: tuple[str, ...]
    lost: str = ""  # why it does not answer, empty while it does
    unsupported: dict[str, str] = field(default_factory=dict)
    values: dict[tuple[str, tuple[str, ...]], float] = field(default_factory=dict)


class NvmlSource:
    """All GPUs of this machine. `nvml` is the pynvml module or one like it; `clock` counts seconds."""

    def __init__(self, nvml: Any = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = "not read yet"
        self._nvml = nvml
        self._clock = clock
        self._gpus: list[_Gpu] | None = None  # None while there is no driver
        self._pause = _FIRST_PAUSE
        self._next_try = -math.inf

    @property
    def unsupported(self) -> dict[tuple[int, str], str]:
        """What GPUs cannot tell: reason by GPU index and probe."""
        return {(gpu.index, name): reason for gpu in self._gpus or () for name, reason in gpu.unsupported.items()}

    def read(self) -> list[Family]:
        """Asks every GPU for every supported value, once. Never raises and never waits."""
        if self._gpus is None and self._clock() >= self._next_try:
            self._connect()
        for gpu in self._gpus or ():
            self._ask(gpu)
            if self._gpus is None:  # the driver went away meanwhile
                break
        return self._families()

    def facts(self, device: str) -> GpuFacts | None:
        """The values last read of `cuda:N` (as CUDA_VISIBLE_DEVICES counts) or of a UUID; None if it is not there."""
        gpu = self._find(device)
        if gpu is None or gpu.lost:
            return None

        def value(name: str) -> float:
            return gpu.values.get((name, ()), math.nan)

        return GpuFacts(
            memory_used=value(MEMORY_USED.name),
            memory_total=value(MEMORY_TOTAL.name),
            temperature=value(TEMPERATURE.name),
            utilization=value(UTILIZATION.name),
            power=value(POWER.name),
            throttled=value(CLOCKS_THROTTLED.name) == 1.0,
        )

    # --- the driver

    def _connect(self) -> None:
        try:
            if self._nvml is None:
                self._nvml = importlib.import_module("pynvml")  # 8,000 lines: not before it is needed
            self._nvml.nvmlInit()
        except ImportError as error:
            self._lose(f"nvidia-ml-py cannot be imported ({error})")
            return
        except self._nvml.NVMLError as error:
            self._lose(str(error))
            return
        try:
            driver = _text(self._nvml.nvmlSystemGetDriverVersion())
            count = self._nvml.nvmlDeviceGetCount()
            self._gpus = [gpu for index in range(count) if (gpu := self._open(index, driver))]
        except self._nvml.NVMLError as error:
            self._lose(str(error))
            return
        self._pause = _FIRST_PAUSE
        self.state = f"{len(self._gpus)} GPU{'' if len(self._gpus) == 1 else 's'}, driver {driver}"
        log.info("NVML answers", gpus=len(self._gpus), driver=driver)

    def _open(self, index: int, driver: str) -> _Gpu | None:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid, name = _text(nvml.nvmlDeviceGetUUID(handle)), _text(nvml.nvmlDeviceGetName(handle))
            bus = _text(nvml.nvmlDeviceGetPciInfo(handle).busId)
            major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
        except nvml.NVMLError as error:
            log.warning("a GPU does not answer", gpu=index, reason=str(error))
            return None
        return _Gpu(index, handle, uuid, (str(index), uuid, name, driver, bus, f"{major}.{minor}"))

    def _lose(self, reason: str) -> None:
        state = f"no driver: {reason}"
        if state != self.state:  # said once, not at every attempt
            log.info("NVML does not answer", reason=reason)
        if self._gpus is not None:
            self._nvml.nvmlShutdown() if self._shutdown_helps(reason) else None
        self.state, self._gpus = state, None
        self._next_try = self._clock() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
