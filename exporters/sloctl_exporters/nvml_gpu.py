"""One GPU: everything that is asked of it at a reading, and what it does not tell."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_activity import OF_A_GPU, ActivitySampler, check_support
from sloctl_exporters.nvml_errors import (
    DriverGoneError,
    UnsupportedError,
    is_driver_gone,
    is_gpu_gone,
    is_unsupported,
)
from sloctl_exporters.nvml_fields import COUNTED_REASONS, FieldBatch, reason_field
from sloctl_exporters.nvml_instances import Instances
from sloctl_exporters.nvml_probes import PROBES, Probe, Reading, highest_clocks
from sloctl_exporters.nvml_reasons import ReasonClock
from sloctl_exporters.nvml_xid import XidLog

Part = Callable[[float], Reading]

log = structlog.get_logger("sloctl.nvml")


@dataclass(slots=True)
class Kept:
    """What is counted in this process for a GPU, and outlives the driver's going away."""

    reasons: ReasonClock = field(default_factory=ReasonClock)
    xids: XidLog = field(default_factory=XidLog)
    said: set[str] = field(default_factory=set)  # what was logged as unsupported


@dataclass(frozen=True, slots=True)
class Identity:
    """What a GPU is."""

    index: int
    uuid: str
    name: str
    driver: str
    pci_bus_id: str
    compute_capability: str

    @property
    def labels(self) -> tuple[str, ...]:
        """As GPU_INFO has them."""
        return (str(self.index), self.uuid, self.name, self.driver, self.pci_bus_id, self.compute_capability)


def identify(nvml: Any, index: int, handle: Any, driver: str) -> Identity:
    """Asks a GPU what it is; NVMLError where it does not answer."""
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Identity(
        index=index,
        uuid=nvml.nvmlDeviceGetUUID(handle),
        name=nvml.nvmlDeviceGetName(handle),
        driver=driver,
        pci_bus_id=nvml.nvmlDeviceGetPciInfo(handle).busId,
        compute_capability=f"{major}.{minor}",
    )


class Gpu:
    """A GPU by its handle. `values` holds the last reading: metric name and further labels to the value."""

    def __init__(self, nvml: Any, handle: Any, identity: Identity, kept: Kept) -> None:
        self.handle = handle
        self.identity = identity
        self.kept = kept
        self.values: dict[tuple[str, tuple[str, ...]], float] = {}
        self.lost = ""  # why it does not answer, empty while it does
        self.unsupported: dict[str, str] = {}
        self.errors = 0
        self._nvml = nvml
        self._begin()

    def _begin(self) -> None:
        """Everything is asked for anew, as after a change of the MIG mode, which changes what is supported."""
        nvml, handle = self._nvml, self.handle
        self.unsupported.clear()
        self._highest: Reading | None = None
        self._has_gpm: bool | None = None
        self._fields = FieldBatch(nvml, handle, self.refuse)
        self._samples = ActivitySampler(
            nvml, lambda sample: nvml.nvmlGpmSampleGet(handle, sample), OF_A_GPU, self.refuse
        )
        self._instances = Instances(nvml, handle, self.refuse)
        self._parts: list[tuple[str, Part]] = [
            *((probe.name, self._part(probe)) for probe in PROBES),
            ("highest clocks", self._highest_clocks),
            ("field values", lambda _: self._fields.read()),
            ("clocks event reasons", self._reasons),
            ("activity", self._activity),
            ("MIG mode", self._instances.read),
        ]

    def read(self, now: float) -> None:
        """Asks for every supported value once. Raises DriverGoneError; a lost GPU is in `lost` instead."""
        mode_before = self.values.get((m.MIG_MODE.name, ()))
        self.values, self.lost = {}, ""
        for name, part in self._parts:
            if name in self.unsupported:
                continue
            try:
                reading = list(part(now))
            except UnsupportedError as error:
                self.refuse(name, str(error))
            except self._nvml.NVMLError as error:
                self._failed(name, error)
                if self.lost:
                    return
            else:
                self.values.update({(metric.name, labels): float(value) for metric, labels, value in reading})
        if "XID events" not in self.unsupported:
            self.values.update({(metric.name, labels): value for metric, labels, value in self.kept.xids.read()})
        mode = self.values.get((m.MIG_MODE.name, ()), mode_before)
        if mode_before is not None and mode != mode_before:
            self.close()
            self._begin()

    def refuse(self, what: str, reason: str) -> None:
        """Notes what this GPU does not tell, and logs it the first time."""
        self.unsupported[what] = reason
        if what not in self.kept.said:
            self.kept.said.add(what)
            log.info("a GPU does not tell", gpu=self.identity.index, what=what, reason=reason)

    def close(self) -> None:
        """Gives back what NVML lent; after the driver went away there is nothing to give back."""
        try:
            self._samples.close()
            self._instances.close()
        except self._nvml.NVMLError as error:
            log.debug("samples could not be freed", gpu=self.identity.index, reason=str(error))

    def _failed(self, name: str, error: Any) -> None:
        code = error.value
        if is_unsupported(self._nvml, code):
            self.refuse(name, str(error))
            return
        self.errors += 1
        if is_driver_gone(self._nvml, code):
            raise DriverGoneError(str(error)) from None
        if is_gpu_gone(self._nvml, code):
            # One lost GPU does not take the others with it.
            self.lost, self.values = str(error), {}
            self.kept.reasons.pause()

    # --- parts that are more than a call

    def _part(self, probe: Probe) -> Part:
        return lambda _: probe.read(self._nvml, self.handle)

    def _highest_clocks(self, _: float) -> Reading:
        if self._highest is None:
            self._highest = list(highest_clocks(self._nvml, self.handle))
        return self._highest

    def _reasons(self, now: float) -> Reading:
        unsupported = {"field values"} & set(self.unsupported)
        counted = {r for r in COUNTED_REASONS if not unsupported and reason_field(r) not in self.unsupported}
        return self.kept.reasons.read(self._nvml, self.handle, now, counted)

    def _activity(self, now: float) -> Reading:
        if self._has_gpm is None:
            check_support(self._nvml, self.handle)
            self._has_gpm = True
        return self._samples.read(now)
