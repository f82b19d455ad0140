"""GPU facts from NVIDIA's management library, read once a tick.

Names follow Prometheus' base units, dcgm-exporter's stand beside them or in their place on demand. A value that
a GPU does not support is left out, told with its reason and not asked for again until the driver comes anew.
Without a driver the source stays up, says why in `state` and tries again, after longer and longer pauses; so it
does when a driver goes away while running, or a GPU that was there.
"""

import contextlib
import importlib
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from sloctl.telemetry.catalogue import Metric
from sloctl.telemetry.families import Family, SummaryValue
from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_dcgm import dcgm_families
from sloctl_exporters.nvml_errors import DriverGoneError
from sloctl_exporters.nvml_gpu import Gpu, Kept, identify
from sloctl_exporters.nvml_metrics import NVML_METRICS
from sloctl_exporters.nvml_reasons import reasons_in
from sloctl_exporters.nvml_xid import KINDS, NAMES, OTHER, XidEvents, address

__all__ = ["NVML_METRICS", "GpuFacts", "Names", "NvmlSource"]

Names = Literal["base", "dcgm", "both"]
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts to reach the driver

log = structlog.get_logger("sloctl.nvml")


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU for policies: bytes, degrees Celsius, ratio 0..1, watts; NaN where it cannot be told.

    `throttled` is true while heat or the hardware itself slows the clocks, `clocks_event_reasons` says what
    does, by NVML's names. `xid_times` are the times of the latest XID errors, on the source's clock.
    """

    memory_used: float
    memory_total: float
    temperature: float
    utilization: float
    power: float
    throttled: bool
    clocks_event_reasons: frozenset[str] = frozenset()
    xid_times: tuple[float, ...] = ()


class NvmlSource:
    """All GPUs of this machine. `nvml` is the pynvml module or one like it; `clock` counts seconds.

    `visible` is CUDA_VISIBLE_DEVICES, by default this process's own; `names` chooses the metrics' names,
    `expected` is how many GPUs there should be, `hostname_label` is dcgm-exporter's, and `wall` Unix time.
    """

    def __init__(
        self,
        nvml: Any = None,
        clock: Callable[[], float] = time.monotonic,
        visible: str | None = None,
        *,
        names: Names = "base",
        expected: int | None = None,
        hostname: str = "",
        hostname_label: str = "Hostname",
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.state = "not read yet"
        self.expected = expected
        self._nvml = nvml
        self._clock = clock
        self._wall = wall
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible
        self._names = names
        self._hostname = (hostname or socket.gethostname(), hostname_label)
        self._gpus: list[Gpu] | None = None  # None while there is no driver
        self._opened = False
        self._events: XidEvents | None = None
        self._kept: dict[str, Kept] = {}
        self._most = 0  # GPUs that answered at once
        self._pause = _FIRST_PAUSE
        self._next_try = -math.inf
        self._errors = 0
        self._reads, self._seconds = 0, 0.0
        self._last_success = 0.0

    @property
    def unsupported(self) -> dict[tuple[int, str], str]:
        """What GPUs cannot tell: reason by GPU index and name of the value."""
        return {(g.identity.index, what): why for g in self._gpus or () for what, why in g.unsupported.items()}

    @property
    def present(self) -> int:
        """GPUs that answered at the last reading."""
        return len(self._present())

    def read(self) -> list[Family]:
        """Asks every GPU for every supported value, once. Never raises and never waits."""
        now = self._clock()
        if now >= self._next_try and (self._gpus is None or len(self._present()) < self._most):
            self._connect(now)
        try:
            for gpu in self._gpus or ():
                gpu.read(now)
        except DriverGoneError as error:
            self._lose(str(error))
        if self._gpus is not None:
            self._take_events(now)
            self._settle(now)
        self._reads += 1
        self._seconds += self._clock() - now
        return self._families()

    def close(self) -> None:
        """Lets go of the driver; the next reading would open it again."""
        self._shut()

    def facts(self, device: str) -> GpuFacts | None:
        """The values last read of `cuda:N` (as CUDA_VISIBLE_DEVICES counts) or of a UUID; None if it is not there.

        A MIG instance has its own memory; the rest is its parent's.
        """
        gpu, instance = self._find(device)
        if gpu is None or gpu.lost:
            return None
        used, total = (m.INSTANCE_MEMORY_USED, m.INSTANCE_MEMORY_TOTAL) if instance else (m.MEMORY_USED, m.MEMORY_TOTAL)

        def value(metric: Metric, labels: tuple[str, ...] = ()) -> float:
            return gpu.values.get((metric.name, labels), math.nan)

        return GpuFacts(
            memory_used=value(used, instance),
            memory_total=value(total, instance),
            temperature=value(m.TEMPERATURE),
            utilization=value(m.UTILIZATION),
            power=value(m.POWER),
            throttled=value(m.CLOCKS_THROTTLED) == 1.0,
            clocks_event_reasons=reasons_in(gpu.values),
            xid_times=tuple(gpu.kept.xids.recent),
        )

    def _present(self) -> list[Gpu]:
        return [gpu for gpu in self._gpus or () if not gpu.lost]

    def _settle(self, now: float) -> None:
        """After a reading: whether all is well, or a GPU is missed and looked for before long."""
        present = len(self._present())
        if present >= self._most:
            self._most, self._pause = present, _FIRST_PAUSE
        elif now >= self._next_try:
            self._wait(now)
        if present:
            self._last_success = self._wall()

    # --- the driver

    def _connect(self, now: float) -> None:
        try:
            if self._nvml is None:
                self._nvml = importlib.import_module("pynvml")  # 8,000 lines: not before it is needed
        except ImportError as error:
            self._lose(f"nvidia-ml-py cannot be imported ({error})")
            return
        nvml = self._nvml
        self._shut()
        try:
            nvml.nvmlInit()
            self._opened = True
            driver = nvml.nvmlSystemGetDriverVersion()
            opened = [self._open(index, driver) for index in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError as error:
            self._lose(str(error))
            return
        self._gpus = [gpu for gpu in opened if gpu]
        self._wait(now)  # should one of them be missing
        self._watch()
        state = f"{len(self._gpus)} GPU{'s' * (len(self._gpus) != 1)}, driver {driver}"
        if state != self.state:
            self.state = state
            log.info("NVML answers", gpus=len(self._gpus), driver=driver)

    def _open(self, index: int, driver: str) -> Gpu | None:
        nvml = self._nvml
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            identity = identify(nvml, index, handle, driver)
        except nvml.NVMLError as error:
            log.warning("a GPU does not answer", gpu=index, reason=str(error))
            return None
        return Gpu(nvml, handle, identity, self._kept.setdefault(identity.uuid, Kept()))

    def _lose(self, reason: str) -> None:
        if (state := f"no driver: {reason}") != self.state:  # said once, not at every attempt
            self.state = state
            log.info("NVML does not answer", reason=reason)
        self._shut()
        self._wait(self._clock())

    def _wait(self, now: float) -> None:
        self._next_try = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _shut(self) -> None:
        for gpu in self._gpus or ():
            self._errors += gpu.errors
            gpu.kept.reasons.pause()
            gpu.close()
        if self._events is not None:
            self._events.close()
        if self._opened:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()  # each successful nvmlInit wants its own
        self._gpus, self._events, self._opened = None, None, False

    # --- XID events

    def _watch(self) -> None:
        """Asks every GPU to report XIDs from now on."""
        nvml = self._nvml
        try:
            self._events = XidEvents(nvml)
        except nvml.NVMLError as error:
            for gpu in self._gpus or ():
                gpu.refuse("XID events", str(error))
            return
        for gpu in self._gpus or ():
            try:
                if not self._events.register(gpu.handle):
                    gpu.refuse("XID events", "not among the event types that it supports")
            except nvml.NVMLError as error:
                gpu.refuse("XID events", str(error))

    def _take_events(self, now: float) -> None:
        by_address = {address(gpu.handle): gpu for gpu in self._gpus or ()}
        for handle, code in self._events.take() if self._events else ():
            if (gpu := by_address.get(handle)) is not None:
                gpu.kept.xids.add(code, now, self._wall())
                kind = KINDS.get(code, OTHER)
                log.warning("XID error", gpu=gpu.identity.index, xid=code, kind=kind, text=NAMES.get(code, ""))

    # --- what was read

    def _families(self) -> list[Family]:
        present = self._present()
        own = self._own_families()
        families = [] if self._names == "dcgm" else self._base_families(present)
        if self._names != "base":
            families += dcgm_families(present, *self._hostname)
        return [*own, *families]

    def _own_families(self) -> list[Family]:
        """How the reading itself goes; it has these names whatever the others have."""
        errors = self._errors + sum(gpu.errors for gpu in self._gpus or ())
        return [
            Family(m.NVML_UP, [((), float(self._gpus is not None))]),
            Family(m.NVML_LAST_SUCCESS, [((), self._last_success)]),
            Family(m.NVML_READ_DURATION, [((), SummaryValue(self._reads, self._seconds))]),
            Family(m.NVML_ERRORS, [((), float(errors))]),
            Family(m.GPUS_PRESENT, [((), float(self.present))]),
            Family(m.GPUS_EXPECTED, [] if self.expected is None else [((), float(self.expected))]),
        ]

    def _base_families(self, present: list[Gpu]) -> list[Family]:
        found = {metric.name: Family(metric) for metric in m.GPU_METRICS}
        for gpu in present:
            who = (str(gpu.identity.index), gpu.identity.uuid)
            found[m.GPU_INFO.name].samples.append((gpu.identity.labels, 1.0))
            for what, why in gpu.unsupported.items():
                found[m.UNSUPPORTED.name].samples.append(((*who, what, why), 1.0))
            for (name, labels), value in gpu.values.items():
                found[name].samples.append(((*who, *labels), value))
        return list(found.values())

    def _find(self, device: str) -> tuple[Gpu | None, tuple[str, ...]]:
        """The GPU of a device and, for a MIG device, the id of its instance."""
        wanted = _physical(device.removeprefix("cuda:"), self._visible)
        for gpu in self._gpus or ():
            who = gpu.identity
            if str(who.index) == wanted or (wanted.startswith("GPU-") and who.uuid.startswith(wanted)):
                return gpu, ()
            for name, labels in gpu.values if wanted.startswith("MIG-") else ():
                if name == m.INSTANCE_INFO.name and labels[2] == wanted:
                    return gpu, (labels[0],)
        return None, ()


def _physical(device: str, visible: str | None) -> str:
    """NVML's index or a UUID for CUDA's: CUDA counts only what CUDA_VISIBLE_DEVICES lists, in its order.

    Without that list both count alike on machines whose GPUs are all of a kind, or with
    CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    if not visible or not device.isdecimal():
        return device
    listed = [entry.strip() for entry in visible.split(",")]
    return listed[int(device)] if int(device) < len(listed) else ""
