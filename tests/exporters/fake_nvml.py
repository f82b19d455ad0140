"""A pynvml in miniature that answers with what was recorded on an H200, for tests of everything above NVML.

`recorded/h200-nvml.json` has one GPU without MIG and without NVLink, idle and under load. What was not seen
there (a second GPU, MIG instances, XIDs, a lost GPU) is made up in the shapes that NVML documents.
"""

import json
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

MIB = 1024**2
RECORDED = json.loads((Path(__file__).parent / "recorded" / "h200-nvml.json").read_text())
TEXTS = {
    1: "Uninitialized",
    2: "Invalid Argument",
    3: "Not Supported",
    6: "Not Found",
    9: "Driver Not Loaded",
    10: "Timeout",
    13: "Function Not Found",
    15: "GPU is lost",
    999: "Unknown Error",
}
_MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class NVMLError(Exception):
    def __init__(self, value: int, text: str = "") -> None:
        super().__init__(text or TEXTS[value])
        self.value = value


@dataclass
class Instance:
    """A MIG device: a compute instance of a GPU instance."""

    gpu_instance: int
    name: str
    uuid: str
    used: int
    total: int


class _MetricsGet:
    def __init__(self) -> None:
        self.version = self.numMetrics = 0
        self.sample1 = self.sample2 = None
        self.metrics = [SimpleNamespace(metricId=0, nvmlReturn=0, value=0.0) for _ in range(477)]


class FakeNvml:
    """`gpus` devices as one was `while_` "idle" or under "load".

    `broken` raises an error by function name, `init_error` while there is no driver, `fields` and `gpm` replace
    recorded answers by number (an int or a pair of value and return code), `instances` are MIG's, `events` XIDs.
    """

    NVMLError = NVMLError
    NVML_ERROR_UNINITIALIZED = 1
    NVML_ERROR_INVALID_ARGUMENT = 2
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_NO_PERMISSION = 4
    NVML_ERROR_NOT_FOUND = 6
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_FUNCTION_NOT_FOUND = 13
    NVML_ERROR_GPU_IS_LOST = 15
    NVML_ERROR_UNKNOWN = 999
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS = 0
    NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR = 1
    NVML_GPM_METRICS_GET_VERSION = 1
    nvmlMemory_v2 = 33554472  # noqa: N815
    nvmlEventTypeXidCriticalError = 8  # noqa: N815
    c_nvmlGpmMetricsGet_t = _MetricsGet  # noqa: N815

    def __init__(self, gpus: int = 1, while_: str = "load") -> None:
        self.gpus = gpus
        self.answers = RECORDED[while_]
        self.calls: Counter[str] = Counter()
        self.asked_fields: Counter[int] = Counter()
        self.init_error: NVMLError | None = None
        self.broken: dict[str, NVMLError] = {}
        self.lost: set[int] = set()
        self.reasons = self.answers["calls"]["nvmlDeviceGetCurrentClocksEventReasons"]["value"]
        self.energy = self.answers["fields"]["83"]["value"]  # millijoules
        self.fields: dict[int, tuple[int, int]] = {}
        self.gpm: dict[int, tuple[float, int]] = {}
        self.has_gpm = True
        self.instances: list[Instance] = []
        self.supported_events = self.answers["events"]["supported"]
        self.registered: set[int] = set()
        self.events: deque[tuple[int, int]] = deque()  # GPU and code
        self.open = 0  # nvmlInit less nvmlShutdown
        self.samples = 0  # allocated and not freed

    # --- the library

    def nvmlInit(self) -> None:  # noqa: N802
        self.calls["nvmlInit"] += 1
        if self.init_error:
            raise self.init_error
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        if not self.open:
            raise NVMLError(1)
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return str(self.answers["calls"]["nvmlSystemGetDriverVersion"]["value"])

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self._check("nvmlDeviceGetHandleByIndex", index + 1)
        return index + 1

    # --- calls on a device

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDeviceGet"):
            raise AttributeError(name)

        def call(handle: int, *arguments: int) -> Any:
            self._check(name, handle)
            return self._answer(name, handle, *arguments)

        return call

    def _check(self, name: str, handle: int) -> None:
        self.calls[name] += 1
        if handle - 1 in self.lost:
            raise NVMLError(15)
        if name in self.broken:
            raise self.broken[name]

    def _answer(self, name: str, handle: int, *arguments: int) -> Any:
        if (instance := self._instance(handle)) is not None:
            return self._of_instance(name, instance)
        if name == "nvmlDeviceGetUUID":
            return f"GPU-6f1d2c3b-0000-4000-8000-00000000000{handle - 1}"
        if name == "nvmlDeviceGetPciInfo":
            return SimpleNamespace(busId=f"00000000:{0x1A + handle:02X}:00.0")
        if name == "nvmlDeviceGetMigMode":
            return (int(bool(self.instances)),) * 2
        if name == "nvmlDeviceGetCurrentClocksEventReasons":
            return self.reasons
        if name == "nvmlDeviceGetSupportedEventTypes":
            return self.supported_events
        recorded = self.answers["calls"]["/".join([name, *map(str, arguments)])]
        if "error" in recorded:
            raise NVMLError(recorded["error"], recorded["text"])
        value = recorded["value"]
        return SimpleNamespace(**value) if isinstance(value, dict) else value

    def nvmlDeviceGetFieldValues(self, handle: int, wanted: list[tuple[int, int]]) -> list[SimpleNamespace]:  # noqa: N802
        self._check("nvmlDeviceGetFieldValues", handle)
        self.asked_fields.update(number for number, _ in wanted)
        return [self._field(number) for number, _ in wanted]

    def _field(self, number: int) -> SimpleNamespace:
        recorded = self.answers["fields"][str(number)]
        value, code = self.fields.get(number, (recorded["value"], recorded["return"]))
        value = self.energy if number == 83 else value
        kind = recorded["valueType"]
        return SimpleNamespace(nvmlReturn=code, valueType=kind, value=SimpleNamespace(**{_MEMBERS[kind]: value}))

    # --- MIG

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: int) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: int, index: int) -> int:  # noqa: N802
        if index >= len(self.instances):
            raise NVMLError(6)
        return 1000 + index

    def nvmlDeviceGetGpuInstanceId(self, handle: int) -> int:  # noqa: N802
        return self.instances[handle - 1000].gpu_instance

    def _instance(self, handle: int) -> Instance | None:
        return self.instances[handle - 1000] if handle >= 1000 else None

    def _of_instance(self, name: str, instance: Instance) -> Any:
        return {  # nothing else: an instance's temperature is its parent's
            "nvmlDeviceGetName": instance.name,
            "nvmlDeviceGetUUID": instance.uuid,
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=instance.used, total=instance.total),
        }[name]

    # --- GPM

    def nvmlGpmQueryDeviceSupport(self, handle: int) -> SimpleNamespace:  # noqa: N802
        self._check("nvmlGpmQueryDeviceSupport", handle)
        return SimpleNamespace(isSupportedDevice=int(self.has_gpm))

    def nvmlGpmSampleAlloc(self) -> SimpleNamespace:  # noqa: N802
        self.samples += 1
        return SimpleNamespace(of=None)

    def nvmlGpmSampleFree(self, sample: SimpleNamespace) -> None:  # noqa: N802
        self.samples -= 1

    def nvmlGpmSampleGet(self, handle: int, sample: SimpleNamespace) -> None:  # noqa: N802
        self._check("nvmlGpmSampleGet", handle)
        sample.of = handle

    def nvmlGpmMigSampleGet(self, handle: int, instance: int, sample: SimpleNamespace) -> None:  # noqa: N802
        self._check("nvmlGpmMigSampleGet", handle)
        sample.of = (handle, instance)

    def nvmlGpmMetricsGet(self, wanted: _MetricsGet) -> None:  # noqa: N802
        self.calls["nvmlGpmMetricsGet"] += 1
        first, second = wanted.sample1, wanted.sample2
        if first is second or first is None or first.of is None or first.of != second.of:
            raise NVMLError(2)
        for answer in wanted.metrics[: wanted.numMetrics]:
            recorded = self.answers["gpm"][str(answer.metricId)]
            answer.value, answer.nvmlReturn = self.gpm.get(answer.metricId, (recorded["value"], recorded["return"]))

    # --- events

    def nvmlEventSetCreate(self) -> SimpleNamespace:  # noqa: N802
        if "nvmlEventSetCreate" in self.broken:
            raise self.broken["nvmlEventSetCreate"]
        return SimpleNamespace()

    def nvmlDeviceRegisterEvents(self, handle: int, mask: int, event_set: object) -> None:  # noqa: N802
        assert mask
        assert mask & ~self.supported_events == 0, "NVML refuses a mask with an event that is not supported"
        self.registered.add(handle)

    def nvmlEventSetWait_v2(self, event_set: object, timeout: int) -> SimpleNamespace:  # noqa: N802
        assert timeout == 0, "a reading never waits"
        if not self.events:
            raise NVMLError(self.answers["events"]["wait"]["error"])
        gpu, code = self.events.popleft()
        return SimpleNamespace(device=gpu + 1, eventType=8, eventData=code)

    def nvmlEventSetFree(self, event_set: object) -> None:  # noqa: N802
        self.registered.clear()
