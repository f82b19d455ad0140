"""XID errors: what the driver reports of faults, through NVML's event set.

Codes and their names are from NVIDIA's "XID Errors" (docs.nvidia.com/deploy/xid-errors).
"""

import contextlib
import ctypes
from collections import deque
from collections.abc import Iterator
from typing import Any

from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_probes import Reading

APPLICATION, WARNING, CRITICAL, OTHER = "application", "warning", "critical", "other"
# What an application did wrong, or what befell it alone; what wants a look; what the GPU does not outlive.
KINDS: dict[int, str] = {
    **dict.fromkeys((13, 31, 43, 45, 68, 109), APPLICATION),
    **dict.fromkeys((63, 92, 94), WARNING),
    **dict.fromkeys((48, 62, 64, 74, 79, 95, 119, 120), CRITICAL),
}
NAMES: dict[int, str] = {
    0: "No Error",
    13: "Graphics Engine Exception",
    31: "GPU memory page fault",
    43: "GPU stopped processing",
    45: "Preemptive cleanup, due to previous errors -- Most likely to see when running multiple cuda",
    48: "Double Bit ECC Error",
    62: "Internal micro-controller halt",
    63: "ECC page retirement or row remapping recording event",
    64: "ECC page retirement or row remapper recording failure",
    68: "NVDEC0 Exception",
    74: "NVLINK Error",
    79: "GPU has fallen off the bus",
    92: "High single-bit ECC error rate",
    94: "Contained ECC error",
    95: "Uncontained ECC error",
    109: "Context Switch Timeout Error",
    119: "GSP RPC Timeout",
    120: "GSP Error",
}
_HIGHEST = 1023  # codes end below 200 today; whatever is above this cannot make series without end
_MOST_AT_ONCE = 64  # events taken in one reading
_REMEMBERED = 256  # events kept for windows


class XidLog:
    """The XIDs of one GPU, counted since this process began, whatever the driver does in the meantime."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(KINDS, 0)
        self._seen_at: dict[int, float] = {}  # Unix time
        self.recent: deque[float] = deque(maxlen=_REMEMBERED)  # on the source's clock
        self.last = 0

    def add(self, code: int, now: float, wall: float) -> None:
        """One event, at `now` on the source's clock and at `wall` for people."""
        code = min(code, _HIGHEST)
        self._counts[code] = self._counts.get(code, 0) + 1
        self._seen_at[code] = wall
        self.recent.append(now)
        self.last = code

    def read(self) -> Reading:
        """Counters, at 0 for the codes that matter so that the first event is an increase; last times."""
        for code, count in self._counts.items():
            yield m.XID_ERRORS, (str(code), KINDS.get(code, OTHER)), float(count)
        for code, at in self._seen_at.items():
            yield m.XID_LAST, (str(code), KINDS.get(code, OTHER)), at


class XidEvents:
    """The event set of all GPUs; `handles` are asked for XIDs, those that have none are left out."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._set = nvml.nvmlEventSetCreate()

    def register(self, handle: Any) -> bool:
        """Asks for a GPU's XIDs; false where it has none to tell."""
        # A mask with an event that a GPU does not have is refused as a whole.
        mask = self._nvml.nvmlDeviceGetSupportedEventTypes(handle) & self._nvml.nvmlEventTypeXidCriticalError
        if mask:
            self._nvml.nvmlDeviceRegisterEvents(handle, mask, self._set)
        return bool(mask)

    def take(self) -> Iterator[tuple[int | None, int]]:
        """What has happened since: the address of the GPU's handle and the code. Never waits."""
        for _ in range(_MOST_AT_ONCE):
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._set, 0)
            except self._nvml.NVMLError:  # a timeout: there is nothing more
                return
            if event.eventType & self._nvml.nvmlEventTypeXidCriticalError:
                yield address(event.device), int(event.eventData)

    def close(self) -> None:
        """Frees the set."""
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlEventSetFree(self._set)


def address(handle: Any) -> int | None:
    """What tells two handles apart: a lost GPU can no longer be asked who it is."""
    return ctypes.cast(handle, ctypes.c_void_p).value
