"""MIG: the instances that a GPU is cut into, with what is their own and nothing that is their parent's."""

import re
from collections.abc import Iterator
from typing import Any

from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_activity import ActivitySampler, of_an_instance
from sloctl_exporters.nvml_errors import is_unsupported
from sloctl_exporters.nvml_probes import Reading, Refuse

_PROFILE = re.compile(r"\d+g\.\S+")  # of "NVIDIA H200 MIG 1c.2g.35gb"


class Instances:
    """The GPU instances of one GPU, found anew at each reading: they come and go while the driver stays."""

    def __init__(self, nvml: Any, handle: Any, refuse: Refuse) -> None:
        self._nvml = nvml
        self._handle = handle
        self._refuse = refuse
        self._samplers: dict[int, ActivitySampler] = {}
        self._has_activity = True

    def read(self, now: float) -> Reading:
        """The MIG mode, and memory and activity of each instance."""
        current, _pending = self._nvml.nvmlDeviceGetMigMode(self._handle)
        yield m.MIG_MODE, (), float(current)
        found = dict(self._instances()) if current else {}
        for number in set(self._samplers) - set(found):
            self._samplers.pop(number).close()
        for number, device in found.items():
            yield from self._of(number, device)
            yield from self._activity(number, now)

    def close(self) -> None:
        """Gives back what the samplers hold."""
        while self._samplers:
            self._samplers.popitem()[1].close()

    def _instances(self) -> Iterator[tuple[int, Any]]:
        # By MIG device, which is a compute instance; those of one GPU instance share its memory.
        nvml, seen = self._nvml, set()
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(self._handle)):
            try:
                device = nvml.nvmlDeviceGetMigDeviceHandleByIndex(self._handle, index)
            except nvml.NVMLError as error:
                if error.value == nvml.NVML_ERROR_NOT_FOUND:
                    continue
                raise
            number = nvml.nvmlDeviceGetGpuInstanceId(device)
            if number not in seen:
                seen.add(number)
                yield number, device

    def _of(self, number: int, device: Any) -> Reading:
        nvml, instance = self._nvml, str(number)
        name = nvml.nvmlDeviceGetName(device)
        profile = _PROFILE.search(name)
        yield m.INSTANCE_INFO, (instance, profile[0] if profile else name, nvml.nvmlDeviceGetUUID(device)), 1.0
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
        yield m.INSTANCE_MEMORY_USED, (instance,), memory.used
        yield m.INSTANCE_MEMORY_TOTAL, (instance,), memory.total

    def _activity(self, number: int, now: float) -> Reading:
        if not self._has_activity:
            return ()
        nvml, handle = self._nvml, self._handle
        sampler = self._samplers.get(number)
        if sampler is None:
            sampler = self._samplers[number] = ActivitySampler(
                nvml,
                lambda sample: nvml.nvmlGpmMigSampleGet(handle, number, sample),
                of_an_instance(str(number)),
                self._refuse,
            )
        try:
            return sampler.read(now)
        except nvml.NVMLError as error:
            if not is_unsupported(nvml, error.value):
                raise
            self._has_activity = False
            self._refuse("activity of instances", str(error))
            return ()
