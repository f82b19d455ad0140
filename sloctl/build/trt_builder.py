"""Builds one TensorRT plan. A stand-alone script: it needs Python 3.8, the standard library and a TensorRT module.

It runs in a process of its own, and often under another Python than sloctl's (`sloctl build --builder-python`).
A request comes as JSON on standard input: `{"action": "inspect", "modules": […]}` or `{"action": "build", …}` (see
`build`). Answers are JSON lines on standard output: `{"event": "progress" | "log" | "result" | "error", …}`; the
last one is a result or an error. What TensorRT itself prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import sys
import time
from typing import Any

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_WEAK = {"fp32": [], "tf32": ["TF32"], "fp16": ["FP16"], "bf16": ["BF16"], "int8": ["INT8", "FP16"]}  # builder flags


class BuildError(Exception):
    """The plan cannot be built; the message is for people."""


class Lines:
    """Writes events; anything else that is printed to standard output goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        """One line."""
        self._out.write(json.dumps(dict(fields, event=event)) + "\n")
        self._out.flush()


def load(names: list[str]) -> Any:
    """The first of the modules that is there and can build."""
    tried = []
    for name in names:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:
            tried.append(f"{name} ({error})")
            continue
        if hasattr(module, "Builder"):
            return module
        tried.append(f"{name} (a runtime alone, without a builder)")
    raise BuildError(f"no TensorRT builder is installed for {sys.executable}; tried {'; '.join(tried)}")


def compute_capability() -> str | None:
    """Of the first GPU, such as "9.0"; None where there is none. Asks the driver itself."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    failed = (
        cuda.cuInit(0)
        or cuda.cuDeviceGet(ctypes.byref(device), 0)
        or cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
        or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    )
    return None if failed else f"{major.value}.{minor.value}"


def strongly_typed(trt: Any) -> bool:
    """Whether the model alone says its types: TensorRT 11 and TensorRT-RTX know nothing else."""
    return not hasattr(trt.BuilderFlag, "FP16")


def inspect(trt: Any) -> dict[str, Any]:
    """What this builder is and can."""
    return {
        "module": trt.__name__,
        "version": trt.__version__,
        "strongly_typed": strongly_typed(trt),
        "flags": sorted(trt.BuilderFlag.__members__),
        "ahead_of_time": hasattr(trt.IBuilderConfig, "set_compute_capability"),
        "compute_capability": compute_capability(),
    }


def make_logger(trt: Any, lines: Lines) -> Any:
    """Passes warnings and errors on, and keeps the last: some failures are only warned of."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the module is only known now
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.reason = "it gives no reason"

        def log(self, severity: Any, message: str) -> None:
            if severity not in (trt.ILogger.INFO, trt.ILogger.VERBOSE):
                self.reason = message
                lines.send("log", severity=severity.name.lower(), message=message)

    return Logger()


def watch(trt: Any, config: Any, lines: Lines) -> Any:
    """Reports progress, where TensorRT tells any (from 10 on); the answer must outlive the build."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.parents: dict[str, str | None] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name], self.parents[phase_name] = num_steps, parent_phase
            self.tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.tell(phase_name, step + 1)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.tell(phase_name, self.steps.get(phase_name, 0))

        def tell(self, phase: str, step: int) -> None:
            lines.send("progress", phase=phase, parent=self.parents.get(phase), step=step, steps=self.steps.get(phase))

    config.progress_monitor = monitor = Monitor()
    return monitor


def parse(trt: Any, builder: Any, logger: Any, path: str) -> tuple[Any, Any]:
    """The network of an ONNX file, and the parser, which holds its weights."""
    kinds, flags = trt.NetworkDefinitionCreationFlag, 0
    if hasattr(kinds, "EXPLICIT_BATCH") and int(trt.__version__.split(".")[0]) < 10:
        flags |= 1 << int(kinds.EXPLICIT_BATCH)
    if strongly_typed(trt):
        flags |= 1 << int(kinds.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        raise BuildError("TensorRT cannot read the model: " + "; ".join(_parse_errors(parser)))
    return network, parser


def _parse_errors(parser: Any) -> list[str]:
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        node = error.node_name() if hasattr(error, "node_name") else ""
        found.append((f"node {node}: " if node else "") + error.desc())
    return found or ["it gives no reason"]


def set_flags(trt: Any, config: Any, request: dict[str, Any]) -> list[str]:
    """Builder flags of the precision and of the plan's form; returns the names of those set."""
    weak = _WEAK.get(request["precision"], [])
    wanted = [name for name in weak if name == "TF32" or not strongly_typed(trt)]
    wanted += [name for name in ("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME") if request.get(name.lower())]
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default
    for name in wanted:
        if name not in trt.BuilderFlag.__members__:
            raise BuildError(f"{trt.__name__} {trt.__version__} has no builder flag {name}")
        config.set_flag(trt.BuilderFlag.__members__[name])
    return wanted


def set_target(trt: Any, config: Any, wanted: str | None) -> str | None:
    """Builds for the GPU of this machine, or for the compute capability asked for, where the builder can."""
    here = compute_capability()
    if wanted is None or wanted == here:
        return here
    if not hasattr(config, "set_compute_capability"):
        has = here or "none"
        raise BuildError(f"{trt.__name__} {trt.__version__} builds for this machine's GPU only ({has}), not {wanted}")
    name, known = "SM" + wanted.replace(".", ""), trt.ComputeCapability.__members__
    if name not in known:
        have = ", ".join(key for key in sorted(known) if re.match("SM[0-9]", key))
        raise BuildError(f"{trt.__name__} cannot build for compute capability {wanted}; it knows {have}")
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(known[name], 0):
        raise BuildError(f"{trt.__name__} refused compute capability {wanted}")
    return wanted


def add_profile(builder: Any, network: Any, config: Any, shapes: dict[str, list[list[int]]]) -> None:
    """Adds an optimisation profile: `{input: [smallest, best, largest]}`."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.name not in shapes:
            raise BuildError(f"there is no shape profile for input {tensor.name}")
        if -1 in tuple(tensor.shape):
            profile.set_shape(tensor.name, *[tuple(shape) for shape in shapes[tensor.name]])
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(f"TensorRT refused the optimisation profile {json.dumps(shapes)}")


def use_timings(config: Any, path: str) -> int:
    """Gives what earlier builds measured to this one; returns the size of it."""
    data = b""
    if os.path.exists(path):
        with open(path, "rb") as file:
            data = file.read()
    cache = config.create_timing_cache(data)
    if cache is not None and config.set_timing_cache(cache, False):
        return len(data)
    config.set_timing_cache(config.create_timing_cache(b""), False)  # that file is of another version or GPU
    return 0


def keep_timings(config: Any, path: str) -> int:
    """Writes the cache whole or not at all, since another build may read it; returns its size."""
    cache = config.get_timing_cache()
    if cache is None:
        return 0
    data = bytes(memoryview(cache.serialize()))
    draft = f"{path}.{os.getpid()}"
    with open(draft, "wb") as file:
        file.write(data)
    os.replace(draft, path)
    return len(data)


def configure(trt: Any, config: Any, request: dict[str, Any]) -> None:
    """What all precisions share."""
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if request.get("workspace_bytes"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_bytes"])
    if request.get("optimization_level") is not None:
        config.builder_optimization_level = request["optimization_level"]


def build(trt: Any, request: dict[str, Any], lines: Lines) -> dict[str, Any]:
    """Builds `model` into `plan`.

    The request holds `model`, `plan`, `precision`, `profiles`, and may hold `compute_capability`, `timing_cache`,
    `workspace_bytes`, `optimization_level`, `version_compatible` and `exclude_lean_runtime`.
    """
    begin, logger = time.time(), make_logger(trt, lines)
    try:
        builder = trt.Builder(logger)
    except TypeError:  # what pybind11 makes of a null pointer
        raise BuildError("TensorRT cannot make a builder: " + logger.reason) from None
    network, parser = parse(trt, builder, logger, request["model"])
    config = builder.create_builder_config()
    configure(trt, config, request)
    flags = set_flags(trt, config, request)
    target = set_target(trt, config, request.get("compute_capability"))
    for shapes in request["profiles"]:
        add_profile(builder, network, config, shapes)
    cache = request.get("timing_cache") if "rtx" not in trt.__name__ else None  # TensorRT-RTX measures at run time
    known = use_timings(config, cache) if cache else 0
    monitor = watch(trt, config, lines)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError("TensorRT built nothing: " + logger.reason)
    with open(request["plan"], "wb") as file:
        file.write(memoryview(plan))
    kept = keep_timings(config, cache) if cache else 0
    del monitor, parser
    return {"set_flags": flags, "target": target, "seconds": time.time() - begin, "timing_cache_bytes": [known, kept]}


def main() -> int:
    """Reads the request and answers it."""
    beside = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if place != beside]  # sloctl's modules are none of TensorRT's
    lines = Lines()
    try:
        request = json.load(sys.stdin)
        trt = load(request["modules"])
        answer = inspect(trt)
        if request["action"] == "build":
            answer.update(build(trt, request, lines))
        lines.send("result", **answer)
    except (BuildError, OSError) as error:
        lines.send("error", message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
