"""A pynvml in miniature with what an H200 answered, for tests of everything above NVML."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

MIB = 1024**2


class NVMLError(Exception):
    def __init__(self, value: int, text: str) -> None:
        super().__init__(text)
        self.value = value


class FakeNvml:
    """`gpus` devices; `broken` raises an error by function name, `init_error` while there is no driver."""

    NVMLError = NVMLError
    NVML_ERROR_UNINITIALIZED = 1
    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_ERROR_NO_PERMISSION = 4
    NVML_ERROR_DRIVER_NOT_LOADED = 9
    NVML_ERROR_GPU_IS_LOST = 15
    NVML_ERROR_UNKNOWN = 999
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS = 0
    NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR = 1

    def __init__(self, gpus: int = 1) -> None:
        self.gpus = gpus
        self.calls: Counter[str] = Counter()
        self.init_error: NVMLError | None = None
        self.broken: dict[str, NVMLError] = {"nvmlDeviceGetRetiredPages": NVMLError(3, "Not Supported")}
        self.lost: set[int] = set()
        self.reasons = 0x1  # idle
        self.energy = 123_456_789  # millijoules
        self.open = 0  # nvmlInit less nvmlShutdown

    def nvmlInit(self) -> None:  # noqa: N802
        self.calls["nvmlInit"] += 1
        if self.init_error:
            raise self.init_error
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        if not self.open:
            raise NVMLError(1, "Uninitialized")
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.159.04"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def __getattr__(self, name: str) -> Any:
        if name not in self._answers():
            raise AttributeError(name)

        def call(handle: int, *arguments: int) -> Any:
            self.calls[name] += 1
            if handle in self.lost:
                raise NVMLError(15, "GPU is lost")
            if name in self.broken:
                raise self.broken[name]
            return self._answers(handle, *arguments)[name]

        return call

    def _answers(self, handle: int = 0, argument: int = 0) -> dict[str, Any]:
        total, used = 143771 * MIB, (4097 + handle) * MIB
        return {
            "nvmlDeviceGetName": "NVIDIA H200",
            "nvmlDeviceGetUUID": f"GPU-6f1d2c3b-0000-4000-8000-00000000000{handle}",
            "nvmlDeviceGetPciInfo": SimpleNamespace(busId=f"00000000:{0x1B + handle:02X}:00.0"),
            "nvmlDeviceGetCudaComputeCapability": (9, 0),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=total, used=used, free=total - used),
            "nvmlDeviceGetTemperature": 31,
            "nvmlDeviceGetPowerUsage": 76_432,
            "nvmlDeviceGetTotalEnergyConsumption": self.energy,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87, memory=12),
            "nvmlDeviceGetClockInfo": {1: 1980, 2: 3201}.get(argument),
            "nvmlDeviceGetCurrentClocksEventReasons": self.reasons,
            "nvmlDeviceGetMigMode": (0, 0),
            "nvmlDeviceGetRetiredPages": [],
            "nvmlDeviceGetRemappedRows": (0, 2, 0, 0),
        }
