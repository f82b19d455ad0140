"""Whether NVIDIA's management library answers for a device: the driver's own view of it, beside CUDA's."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sloctl.engines.base import EngineError

_T = TypeVar("_T")
_lock = threading.Lock()
_open = threading.Event()  # set while the library is initialised, which takes milliseconds


def look(uuid: str) -> str:
    """Asks for a GPU by its UUID and says which driver answered. Raises EngineError, and then begins anew."""

    def ask(nvml: Any) -> str:
        nvml.nvmlDeviceGetMemoryInfo(_handle(nvml, uuid))
        return text(nvml.nvmlSystemGetDriverVersion())

    return f"driver {_asked(ask)}"


def _handle(nvml: Any, uuid: str) -> Any:
    """A GPU's handle, or that of a MIG instance, whose UUID CUDA tells without saying which of the two it is."""
    try:
        return nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError as error:
        if error.value not in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
            raise
        return nvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-", 1))


def driver_version() -> str | None:
    """The driver's own version, such as `580.159.04`; None where NVML does not answer."""
    try:
        return _asked(lambda nvml: text(nvml.nvmlSystemGetDriverVersion()))
    except EngineError:
        return None


def text(value: str | bytes) -> str:
    """NVML's strings, which older releases of its binding give as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def _asked(ask: Callable[[Any], _T]) -> _T:
    import pynvml

    with _lock:
        try:
            if not _open.is_set():
                pynvml.nvmlInit()
                _open.set()
            return ask(pynvml)
        except pynvml.NVMLError as error:
            _close(pynvml)
            raise EngineError(f"NVML does not answer: {error}") from None


def _close(nvml: Any) -> None:
    if not _open.is_set():
        return
    _open.clear()
    try:
        nvml.nvmlShutdown()
    except nvml.NVMLError:
        return
