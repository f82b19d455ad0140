"""The real engines behind the loader's interface."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from sloctl.config.daemon import ModelConfig
from sloctl.engines import loading
from sloctl.engines.base import Engine
from sloctl.engines.manifest import read_manifest
from sloctl.engines.preflight import Memory, PreflightError, Subject, preflight
from sloctl.serving.faults import DeviceFaults, HostFaults
from sloctl.serving.loader import Hosted
from sloctl.serving.memory import Need


class EngineHosting:
    """Variants from the folders `<model>/<variant>` of a repository, on one device but for those pinned elsewhere."""

    def __init__(
        self,
        device: str,
        preflight: Literal["auto", "always", "never"],
        state: Path,
        pins: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        """`preflight`: when models are loaded in a throw-away process first; `state`: where it is remembered.

        `pins` are the devices of variants that have their own, by names of model and variant.
        """
        self._device = device
        self._mode = preflight
        self._passed = Memory(state / "preflight.json")
        self._pins = pins or {}

    def _device_of(self, folder: Path) -> str:
        return self._pins.get((folder.parent.name, folder.name), self._device)

    def check_device(self, folder: Path) -> str:
        """Level 1: the name of the device that the variant in a folder is on. Raises EngineError."""
        return loading.check_device(self._device_of(folder))

    def check_monitoring(self, folder: Path) -> str:
        """Whether NVML answers for a GPU; nothing to ask on a CPU. Raises EngineError."""
        return loading.check_monitoring(self._device_of(folder))

    @cached_property
    def faults(self) -> DeviceFaults:
        """Ways to break the device, for tests."""
        if self._device == "cpu":
            return HostFaults()
        from sloctl.engines.cuda_faults import CudaFaults

        return CudaFaults(self._device)

    def check_runtime(self, folder: Path) -> str:
        """Level 2: the runtime's name and version. Raises EngineError."""
        return loading.check_runtime(read_manifest(folder))

    def check_model(self, folder: Path) -> str:
        """Level 3: the model file's name. Raises EngineError."""
        return loading.check_model(folder, read_manifest(folder), self._device_of(folder)).name

    def need(self, folder: Path) -> Need:
        """The memory that a load takes. Raises EngineError."""
        manifest = read_manifest(folder)
        return Need.of(manifest.memory_bytes, manifest.size)

    def free_memory(self, folder: Path) -> int:
        """Free bytes of the device that the variant in a folder goes to. Raises EngineError."""
        return loading.free_memory(self._device_of(folder))

    def preflight(self, folder: Path, config: ModelConfig) -> str:
        """Loads it in a throw-away process, unless that is turned off or has passed before. Raises PreflightError."""
        manifest = read_manifest(folder)
        if self._mode == "never" or (self._mode == "auto" and manifest.runtime != "tensorrt"):
            return "no preflight"
        device = self._device_of(folder)
        room = (manifest.lean_runtime or "", str(config.max_batch), str(config.contexts))
        key = (manifest.sha256, loading.check_runtime(manifest), *loading.identity(device), *room)
        if self._mode == "auto" and self._passed.has(key):
            return "passed a preflight before"
        subject = Subject(folder, device, None, config.max_batch, threads=config.threads, contexts=config.contexts)
        report = preflight(subject)
        if report.failed:
            raise PreflightError(report.level, report.reason)
        self._passed.add(key)
        return f"passed a preflight in {report.seconds:.1f} s"

    def load(self, folder: Path, config: ModelConfig) -> Hosted:
        """Level 4. Raises EngineError."""
        engine, manifest = loading.load_engine(
            folder,
            device=self._device_of(folder),
            threads=config.threads,
            max_batch=config.max_batch,
            contexts=config.contexts,
        )

        def probe(asked: Engine) -> None:
            loading.probe(asked, manifest)

        accuracy = manifest.accuracy.value if manifest.accuracy else None
        return Hosted(engine, probe, loading.sample(engine, manifest), accuracy)
