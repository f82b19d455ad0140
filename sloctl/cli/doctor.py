"""`sloctl doctor`: what this machine has, and what is missing for which feature."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Annotated, Any

import typer

_VERSION_OF = "import importlib, sys; print(importlib.import_module(sys.argv[1]).__version__)"
_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for: `value` where it is there, else why not."""

    name: str
    found: bool
    value: str


@dataclass(frozen=True, slots=True)
class Feature:
    """What sloctl can do here; `missing` says what it lacks, empty where nothing."""

    name: str
    missing: str


def doctor(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show what this machine has, and what is missing for which feature. Exit status: 0."""
    findings = examine()
    offered = features(findings)
    if as_json:
        report: dict[str, Any] = {
            "machine": {f.name: {"found": f.found, "value": f.value} for f in findings},
            "features": {f.name: {"available": not f.missing, "missing": f.missing} for f in offered},
        }
        typer.echo(json.dumps(report, indent=2))
    else:
        _show(findings, offered)


def examine() -> list[Finding]:
    """Everything that is looked for, in the order shown. Never raises."""
    from sloctl.engines.tensorrt_runtime import MODULES

    return [
        Finding("Python", True, f"{platform.python_version()} on {platform.platform()}"),
        *_cpu(),
        _memory(),
        _package("onnxruntime"),
        _package("onnx"),
        *(_tensorrt(name) for name in MODULES),
        _package("cuda-bindings"),
        *_cuda(),
        *_nvml(),
    ]


def features(findings: list[Finding]) -> list[Feature]:
    """What those findings allow."""
    have = {finding.name: finding.found for finding in findings}
    tensorrt = any(have[name] for name in have if name.startswith("tensorrt"))
    gpu = {
        "a CUDA device and its driver": have.get("CUDA device 0", False),
        "TensorRT (install sloctl[tensorrt], sloctl[tensorrt-lean] or sloctl[tensorrt-rtx])": tensorrt,
        "the CUDA bindings (install cuda-bindings)": have["cuda-bindings"],
    }
    return [
        _feature("serve on the CPU", {"onnxruntime": have["onnxruntime"]}),
        _feature("quantise to int8, sloctl demo", {"onnx (install sloctl[demo])": have["onnx"]}),
        _feature("int8 faster than fp32 on the CPU", {"VNNI instructions": have["VNNI"]}),
        _feature("serve on NVIDIA GPUs", gpu),
        _feature("GPU telemetry", {"NVML with a device": have.get("NVML device 0", False)}),
    ]


def _feature(name: str, needs: dict[str, bool]) -> Feature:
    return Feature(name, "; ".join(what for what, there in needs.items() if not there))


def _cpu() -> list[Finding]:
    from sloctl.engines.loading import cpu_name
    from sloctl.engines.quantise import has_vnni

    cores = len(os.sched_getaffinity(0))
    return [
        Finding("CPU", True, f"{cpu_name()}, {cores} core{'s' * (cores != 1)}"),
        Finding("VNNI", has_vnni(), "int8 is several times faster than fp32" if has_vnni() else "int8 gains little"),
    ]


def _memory() -> Finding:
    from sloctl.control.process import host_memory

    used, total = host_memory()
    return Finding("memory", True, f"{(total - used) / 2**30:.1f} of {total / 2**30:.1f} GiB free")


def _package(distribution: str) -> Finding:
    try:
        return Finding(distribution, True, metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return Finding(distribution, False, "not installed")


def _tensorrt(module: str) -> Finding:
    # In a process of its own: two TensorRT in one conflict, and a broken one may end it.
    if importlib.util.find_spec(module) is None:
        return Finding(module, False, "not installed")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _VERSION_OF, module], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(module, False, f"its import took longer than {_PATIENCE:g} s")
    if done.returncode == 0:
        return Finding(module, True, done.stdout.strip())
    lines = done.stderr.strip().splitlines() or [f"its import ended with status {done.returncode}"]
    return Finding(module, False, lines[-1])


def _cuda() -> list[Finding]:
    from sloctl.engines import cuda
    from sloctl.engines.base import EngineError

    try:
        driver = Finding("CUDA driver", True, f"speaks CUDA {cuda.driver_version()}")
        devices = [f"cuda:{index}" for index in range(cuda.call("GetDeviceCount"))]
        named = [
            f"{cuda.device_name(device)}, compute capability {cuda.compute_capability(device)}" for device in devices
        ]
    except (EngineError, RuntimeError, OSError) as error:
        return [Finding("CUDA driver", False, str(error))]
    return [driver, *(Finding(f"CUDA device {index}", True, text) for index, text in enumerate(named))]


def _nvml() -> list[Finding]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [Finding("NVML", False, str(error))]
    try:
        found = [Finding("NVML", True, f"driver {_text(pynvml.nvmlSystemGetDriverVersion())}")]
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name, uuid = _text(pynvml.nvmlDeviceGetName(handle)), _text(pynvml.nvmlDeviceGetUUID(handle))
            sizes = f"{memory.free / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
            found.append(Finding(f"NVML device {index}", True, f"{name}, {uuid}, {sizes}"))
        return found
    except pynvml.NVMLError as error:
        return [Finding("NVML", False, str(error))]
    finally:
        pynvml.nvmlShutdown()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _show(findings: list[Finding], offered: list[Feature]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    machine = Table(title="This machine", title_justify="left")
    can = Table(title="What it is good for", title_justify="left")
    for table, columns in ((machine, ("", "what", "found")), (can, ("", "feature", "missing"))):
        for column in columns:
            table.add_column(column, overflow="fold")
    for finding in findings:
        machine.add_row(_mark(finding.found), finding.name, escape(finding.value))
    for feature in offered:
        can.add_row(_mark(not feature.missing), feature.name, escape(feature.missing))
    console = Console()
    console.print(machine)
    console.print(can)


def _mark(good: bool) -> str:
    return "[green]✓[/]" if good else "[yellow]–[/]"
