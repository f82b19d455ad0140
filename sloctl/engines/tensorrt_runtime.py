"""Which TensorRT is installed, whether a plan fits it, and one runtime of it for the process."""

import importlib
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sloctl.engines.base import EngineError, LayerTime

MODULES = ("tensorrt", "tensorrt_lean", "tensorrt_lean_bindings", "tensorrt_rtx", "tensorrt_rtx_bindings")
LIBRARY_FOLDER = "SLOCTL_TENSORRT_LIB_DIR"
_HOSTS = {8: (8, 10), 10: (10, 11), 11: (11,)}  # a lean runtime's major version -> majors that may load it


@cache
def module() -> Any:
    """The first TensorRT module that can be imported. Raises EngineError that names all that were tried."""
    tried = []
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # its shared libraries fail in their own ways
            tried.append(f"{name} ({error})")
    raise EngineError(f"no TensorRT is installed; tried {'; '.join(tried)}; install sloctl[tensorrt-lean]")


def runtime_name() -> str:
    """Module and version that were taken. Raises EngineError."""
    return f"{module().__name__} {module().__version__}"


def check_version(plan: str, lean: str | None) -> None:
    """Whether a plan made for TensorRT `plan` can run on the installed one. Raises EngineError.

    TensorRT itself may end the process on a wrong one, and has no call to ask beforehand. A plan that names a
    `lean` runtime library needs a host that may load that; any other plan needs the very version that built it.
    """
    here = str(module().__version__)
    if lean is None:
        if _release(plan) != _release(here):
            raise EngineError(
                f"the plan is for TensorRT {plan}, this machine has {here}; build it again with that, "
                "or version-compatible and with its leanRuntime named in the manifest"
            )
        return
    found = re.search(r"\.so\.([0-9]+)", lean)
    hosts = _HOSTS.get(int(found[1])) if found else None
    if hosts is None:
        raise EngineError(f"leanRuntime {lean} is no library of TensorRT 8, 10 or 11, such as libnvinfer_lean.so.8")
    if int(here.split(".", maxsplit=1)[0]) not in hosts:
        majors = " or ".join(map(str, hosts))
        raise EngineError(
            f"{lean} can be loaded by TensorRT {majors} only, this machine has {here}; build the plan again"
        )


def _release(version: str) -> list[str]:
    return version.split(".")[:3]


@cache
def _logger() -> Any:
    trt = module()

    class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
        """Keeps the last error, since TensorRT returns None where others raise."""

        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.last = message

    return Logger()


def reason() -> str:
    """The last error that TensorRT logged since this was last asked."""
    logger = _logger()
    last, logger.last = str(logger.last), ""
    return last or "it gives no reason"


@cache
def _profiler_class() -> type[Any]:
    trt = module()

    class Profiler(trt.IProfiler):  # type: ignore[misc,name-defined]
        """Collects one launch's layer times."""

        def __init__(self) -> None:
            super().__init__()
            self.times: list[LayerTime] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.append(LayerTime(layer_name, ms / 1e3))

    return Profiler


def new_profiler() -> Any:
    """An IProfiler whose `times` are the layers reported to it."""
    return _profiler_class()()


@cache
def runtime(lean: str | None, folder: Path) -> Any:
    """One runtime for a process and library; `folder` is the variant's. Raises EngineError."""
    host = module().Runtime(_logger())
    if lean is None:
        return host
    host.engine_host_code_allowed = True
    library = _find(lean, folder)
    loaded = host.load_runtime(str(library))
    if loaded is None:
        raise EngineError(f"{library}: TensorRT cannot load it: {reason()}")
    return loaded


def _find(lean: str, folder: Path) -> Path:
    places = list(dict.fromkeys(_places(folder)))
    for place in places:
        if (place / lean).is_file():
            return place / lean
    looked = ", ".join(map(str, places))
    raise EngineError(f"the plan needs {lean}, which is in none of {looked}; set {LIBRARY_FOLDER} to its folder")


def _places(folder: Path) -> Iterator[Path]:
    yield folder
    yield folder.parent.parent  # the repository
    for name in (LIBRARY_FOLDER, "LD_LIBRARY_PATH"):
        yield from (Path(place) for place in os.environ.get(name, "").split(os.pathsep) if place)
