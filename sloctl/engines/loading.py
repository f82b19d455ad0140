"""From a variant's folder to a warm engine, in the steps that health is told in."""

from pathlib import Path

from sloctl.engines.base import Engine, EngineError, Tensor
from sloctl.engines.formats import require_format
from sloctl.engines.manifest import Manifest, check_outputs, read_manifest, reference_of, sample_inputs, verify_file


def check_device(device: str) -> str:
    """Level 1: whether the device is there; returns what it is called. Raises EngineError."""
    if device == "cpu":
        return cpu_name()
    from sloctl.engines import cuda

    return cuda.device_name(device)


def check_monitoring(device: str) -> str:
    """What NVML says of the device; "" on a CPU, where there is nothing to ask. Raises EngineError."""
    if device == "cpu":
        return ""
    from sloctl.engines import cuda, nvml

    return nvml.look(cuda.uuid(device))


def free_memory(device: str) -> int:
    """Free bytes of the device (on a CPU, what the host has available). Raises EngineError."""
    if device != "cpu":
        from sloctl.engines import cuda

        cuda.select(device)
        return cuda.free_memory()
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(available.split()[1]) * 1024


def identity(device: str) -> tuple[str, ...]:
    """Name and driver of a device: where these are others, what was found out about a model counts no more."""
    if device == "cpu":
        return (cpu_name(),)
    from sloctl.engines import cuda, nvml

    return (cuda.device_name(device), nvml.driver_version() or cuda.driver_version())


def check_runtime(manifest: Manifest) -> str:
    """Level 2: whether the runtime is there; returns its name and version. Raises EngineError."""
    if manifest.runtime == "onnxruntime":
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"
    from sloctl.engines import tensorrt

    tensorrt.check_version(manifest.runtime_version, manifest.lean_runtime)
    return tensorrt.runtime_name()


def check_model(folder: Path, manifest: Manifest, device: str) -> Path:
    """Level 3: whether the file is the measured one and fits the device; returns it. Raises EngineError."""
    reference_of(manifest)  # what was never run is not served
    path = verify_file(folder, manifest)
    require_format(path, manifest.runtime)
    if (manifest.runtime == "tensorrt") != (device != "cpu"):
        raise EngineError(f"{path}: a model for {manifest.runtime} cannot run on device {device}")
    if manifest.compute_capability:
        from sloctl.engines import cuda

        here = cuda.compute_capability(device)
        if here != manifest.compute_capability:
            raise EngineError(
                f"{path}: built for compute capability {manifest.compute_capability}, this GPU has {here}; "
                "build it again on this kind of GPU"
            )
        _check_driver(path, manifest)
    return path


def _check_driver(path: Path, manifest: Manifest) -> None:
    """Refuses a driver for an older major CUDA than the one that it ran on; within one, any driver runs it."""
    from sloctl.engines import cuda

    here = cuda.driver_version()
    if manifest.driver and int(here.partition(".")[0]) < int(manifest.driver.partition(".")[0]):
        raise EngineError(
            f"{path}: was measured on a driver for CUDA {manifest.driver}, this one is for {here}; update the driver"
        )


def create(path: Path, manifest: Manifest, *, device: str, threads: int, max_batch: int, contexts: int = 1) -> Engine:
    """Level 4: the engine with its context and buffers. Raises EngineError."""
    rows = min(max_batch, manifest.max_batch)
    if manifest.runtime == "onnxruntime":
        from sloctl.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads=threads, max_batch=rows)
    from sloctl.engines.tensorrt import TensorRTEngine

    return TensorRTEngine(path, device=device, max_batch=rows, lean_runtime=manifest.lean_runtime, contexts=contexts)


def sample(engine: Engine, manifest: Manifest) -> dict[str, Tensor]:
    """The probe's input: one row, the same every time."""
    return sample_inputs(list(engine.inputs), reference_of(manifest).seed)


def probe(engine: Engine, manifest: Manifest) -> None:
    """Level 5: one dummy inference beside the load, finite and equal to its reference. Raises EngineError."""
    check_outputs(engine.check(sample(engine, manifest)).outputs, reference_of(manifest))


def load_engine(
    folder: Path, *, device: str, threads: int, max_batch: int, contexts: int = 1
) -> tuple[Engine, Manifest]:
    """All steps but the probe. Raises EngineError."""
    manifest = read_manifest(folder)
    check_device(device)
    check_runtime(manifest)
    path = check_model(folder, manifest, device)
    return create(path, manifest, device=device, threads=threads, max_batch=max_batch, contexts=contexts), manifest


def cpu_name() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")
