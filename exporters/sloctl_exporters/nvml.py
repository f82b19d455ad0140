"""GPU facts from NVIDIA's management library, read once a tick.

Names follow Prometheus' base units. A value that a GPU does not support is left out, remembered with its
reason and not asked for again. Without a driver the source stays up, says why in `state` and tries again,
after longer and longer pauses; so it does when a driver goes away while running.
"""

import contextlib
import importlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from sloctl.telemetry.families import Family
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

__all__ = ["NVML_METRICS", "GpuFacts", "NvmlSource"]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to reach the driver
_UNSUPPORTED = ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_PERMISSION", "ARGUMENT_VERSION_MISMATCH", "DEPRECATED")
_GPU_GONE = ("GPU_IS_LOST", "RESET_REQUIRED", "GPU_NOT_FOUND")
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
    """All GPUs of this machine. `nvml` is the pynvml module or one like it; `clock` counts seconds.

    `visible` is CUDA_VISIBLE_DEVICES, by default this process's own.
    """

    def __init__(
        self, nvml: Any = None, clock: Callable[[], float] = time.monotonic, visible: str | None = None
    ) -> None:
        self.state = "not read yet"
        self._nvml = nvml
        self._clock = clock
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
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

    def _ask(self, gpu: _Gpu) -> None:
        """Reads one GPU; a call that fails leaves its value out, an unsupported one for good."""
        gpu.values, gpu.lost = {}, ""
        for probe in PROBES:
            if probe.name in gpu.unsupported:
                continue
            try:
                reading = list(probe.read(self._nvml, gpu.handle))
            except self._nvml.NVMLError as error:
                self._failed(gpu, probe, error)
                if self._gpus is None or gpu.lost:
                    return
                continue
            gpu.values.update({(metric.name, labels): float(value) for metric, labels, value in reading})

    def _failed(self, gpu: _Gpu, probe: Probe, error: Any) -> None:
        if self._is(error, _DRIVER_GONE):
            self._lose(str(error))
        elif self._is(error, _GPU_GONE):
            # One lost GPU does not take the others with it.
            gpu.lost, gpu.values = str(error), {}
        elif self._is(error, _UNSUPPORTED):
            gpu.unsupported[probe.name] = str(error)
            log.info("a GPU does not tell", gpu=gpu.index, what=probe.name, reason=str(error))

    def _is(self, error: Any, names: tuple[str, ...]) -> bool:
        return any(error.value == getattr(self._nvml, f"NVML_ERROR_{name}", None) for name in names)

    # --- the driver

    def _connect(self) -> None:
        try:
            if self._nvml is None:
                self._nvml = importlib.import_module("pynvml")  # 8,000 lines: not before it is needed
        except ImportError as error:
            self._lose(f"nvidia-ml-py cannot be imported ({error})")
            return
        nvml = self._nvml
        try:
            nvml.nvmlInit()
            driver = nvml.nvmlSystemGetDriverVersion()
            opened = [self._open(index, driver) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            self._lose(str(error))
            return
        self._gpus = [gpu for gpu in opened if gpu]
        self._pause = _FIRST_PAUSE
        self.state = f"{len(self._gpus)} GPU{'s' * (len(self._gpus) != 1)}, driver {driver}"
        log.info("NVML answers", gpus=len(self._gpus), driver=driver)

    def _open(self, index: int, driver: str) -> _Gpu | None:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
            bus = nvml.nvmlDeviceGetPciInfo(handle).busId
            major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
            info = (str(index), uuid, nvml.nvmlDeviceGetName(handle), driver, bus, f"{major}.{minor}")
        except nvml.NVMLError as error:
            log.warning("a GPU does not answer", gpu=index, reason=str(error))
            return None
        return _Gpu(index, handle, uuid, info)

    def _lose(self, reason: str) -> None:
        if (state := f"no driver: {reason}") != self.state:  # said once, not at every attempt
            self.state = state
            log.info("NVML does not answer", reason=reason)
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()  # each successful nvmlInit wants its own
        self._gpus = None
        self._next_try = self._clock() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    # --- what was read

    def _families(self) -> list[Family]:
        present = [gpu for gpu in self._gpus or () if not gpu.lost]
        found = {metric.name: Family(metric) for metric in NVML_METRICS}
        found[NVML_UP.name].samples.append(((), float(self._gpus is not None)))
        found[GPUS_PRESENT.name].samples.append(((), float(len(present))))
        for gpu in present:
            found[GPU_INFO.name].samples.append((gpu.info, 1.0))
            for (name, labels), value in gpu.values.items():
                found[name].samples.append(((str(gpu.index), gpu.uuid, *labels), value))
        return list(found.values())

    def _find(self, device: str) -> _Gpu | None:
        wanted = _physical(device.removeprefix("cuda:"), self._visible)
        for gpu in self._gpus or ():
            if str(gpu.index) == wanted or (wanted.startswith("GPU-") and gpu.uuid.startswith(wanted)):
                return gpu
        return None


def _physical(device: str, visible: str | None) -> str:
    """NVML's index or a UUID for CUDA's: CUDA counts only what CUDA_VISIBLE_DEVICES lists, in its order.

    Without that list both count alike on machines whose GPUs are all of a kind, or with
    CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    if not visible or not device.isdecimal():
        return device
    listed = [entry.strip() for entry in visible.split(",")]
    return listed[int(device)] if int(device) < len(listed) else ""
