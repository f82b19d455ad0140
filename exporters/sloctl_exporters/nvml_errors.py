"""What NVML's return codes mean to a reader: a value that is not to be had, a GPU or the driver that went away."""

from typing import Any

_UNSUPPORTED = ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_PERMISSION", "ARGUMENT_VERSION_MISMATCH", "DEPRECATED")
_GPU_GONE = ("GPU_IS_LOST", "RESET_REQUIRED", "GPU_NOT_FOUND")
_DRIVER_GONE = ("UNINITIALIZED", "DRIVER_NOT_LOADED", "LIBRARY_NOT_FOUND", "LIB_RM_VERSION_MISMATCH")


class UnsupportedError(Exception):
    """A GPU or its driver does not tell this; the message says why."""


class DriverGoneError(Exception):
    """The driver no longer answers; the message says why."""


def is_unsupported(nvml: Any, code: int) -> bool:
    """Whether asking again is useless until the driver comes anew."""
    return _is(nvml, code, _UNSUPPORTED)


def is_gpu_gone(nvml: Any, code: int) -> bool:
    """Whether this GPU no longer answers, whatever it is asked."""
    return _is(nvml, code, _GPU_GONE)


def is_driver_gone(nvml: Any, code: int) -> bool:
    """Whether no GPU answers any longer."""
    return _is(nvml, code, _DRIVER_GONE)


def _is(nvml: Any, code: int, names: tuple[str, ...]) -> bool:
    return any(code == getattr(nvml, f"NVML_ERROR_{name}", None) for name in names)
