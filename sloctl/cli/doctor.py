"""`sloctl doctor`: what this machine has, and what is missing for which feature."""

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Look for devices, drivers and runtimes. Exit status 0: a missing part is no failure, the CPU always serves."""
    found = {name: look() for name, look in _LOOKS.items()}
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, (good, text) in found.items():
        table.add_row("[green]✓[/]" if good else "[yellow]–[/]", name, text)
    Console().print(table)


def _python() -> tuple[bool, str]:
    return True, f"{platform.python_version()} on {platform.platform()}"


def _cpu() -> tuple[bool, str]:
    from sloctl.engines.loading import cpu_name

    info = Path("/proc/cpuinfo").read_text()
    vnni = "avx512_vnni" in info or "avx_vnni" in info
    said = "int8 is fast (VNNI)" if vnni else "no VNNI: int8 variants will hardly be faster than fp32"
    return vnni, f"{cpu_name()}: {said}"


def _memory() -> tuple[bool, str]:
    from sloctl.control.process import host_memory

    used, total = host_memory()
    return True, f"{total / 2**30:.1f} GiB, {used / 2**30:.1f} in use"


def _onnxruntime() -> tuple[bool, str]:
    import onnxruntime

    return True, f"{onnxruntime.__version__} with {', '.join(onnxruntime.get_available_providers())}"


def _onnx() -> tuple[bool, str]:
    import importlib.util

    there = importlib.util.find_spec("onnx") is not None
    return there, "quantisation works" if there else "missing: no quantisation and no demo; install sloctl[demo]"


def _tensorrt() -> tuple[bool, str]:
    from sloctl.engines import tensorrt
    from sloctl.engines.base import EngineError

    try:
        return True, tensorrt.runtime_name()
    except EngineError as error:
        return False, f"no TensorRT plans can be served: {error}"


def _cuda() -> tuple[bool, str]:
    from sloctl.engines import cuda
    from sloctl.engines.base import EngineError

    try:
        names = [cuda.device_name(f"cuda:{index}") for index in range(cuda.call("GetDeviceCount"))]
        return bool(names), f"CUDA {cuda.driver_version()}: {', '.join(names) or 'no devices'}"
    except (EngineError, RuntimeError) as error:
        return False, f"no GPU can be used: {error}"


def _nvml() -> tuple[bool, str]:
    from sloctl_exporters.nvml import NvmlSource

    source = NvmlSource()
    source.read()
    return not source.state.startswith("no driver"), f"GPU metrics: {source.state}"


_LOOKS: dict[str, Any] = {
    "Python": _python,
    "CPU": _cpu,
    "memory": _memory,
    "ONNX Runtime": _onnxruntime,
    "onnx": _onnx,
    "TensorRT": _tensorrt,
    "CUDA": _cuda,
    "NVML": _nvml,
}
