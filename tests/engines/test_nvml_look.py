"""NVML asked about one device, by the UUID that CUDA tells."""

import sys
from types import SimpleNamespace

import pytest

from sloctl.engines import nvml
from sloctl.engines.base import EngineError


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


def _library(known: str) -> SimpleNamespace:
    def handle(uuid: str) -> str:
        if uuid != known:
            raise NVMLError(6)
        return uuid

    return SimpleNamespace(
        NVMLError=NVMLError,
        NVML_ERROR_NOT_FOUND=6,
        NVML_ERROR_INVALID_ARGUMENT=2,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetMemoryInfo=lambda _: None,
        nvmlSystemGetDriverVersion=lambda: b"580.1",
    )


@pytest.mark.parametrize("known", ["GPU-1234", "MIG-1234"])
def test_a_gpu_or_a_mig_instance_is_found_by_what_cuda_calls_it(monkeypatch: pytest.MonkeyPatch, known: str):
    nvml._open.clear()
    monkeypatch.setitem(sys.modules, "pynvml", _library(known))
    assert nvml.look("GPU-1234") == "driver 580.1"
    nvml._open.clear()


def test_one_that_is_neither_is_an_error(monkeypatch: pytest.MonkeyPatch):
    nvml._open.clear()
    monkeypatch.setitem(sys.modules, "pynvml", _library("GPU-other"))
    with pytest.raises(EngineError, match="NVML does not answer: error 6"):
        nvml.look("GPU-1234")
