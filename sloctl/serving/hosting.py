"""The real engines behind the loader's interface."""

from pathlib import Path

from sloctl.config.daemon import ModelConfig
from sloctl.engines import loading
from sloctl.engines.base import Engine
from sloctl.engines.manifest import read_manifest
from sloctl.serving.faults import DeviceFaults, HostFaults
from sloctl.serving.loader import Hosted


class EngineHosting:
    """Variants from the folders of a repository, on one device."""

    def __init__(self, device: str) -> None:
        self._device = device

    def check_device(self) -> str:
        """Level 1: the device's name. Raises EngineError."""
        return loading.check_device(self._device)

    def check_monitoring(self) -> str:
        """Whether NVML answers for a GPU; nothing to ask on a CPU. Raises EngineError."""
        return loading.check_monitoring(self._device)

    @property
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
        return loading.check_model(folder, read_manifest(folder), self._device).name

    def load(self, folder: Path, config: ModelConfig) -> Hosted:
        """Level 4. Raises EngineError."""
        engine, manifest = loading.load_engine(
            folder,
            device=self._device,
            threads=config.threads,
            max_batch=config.max_batch,
            contexts=config.contexts,
        )

        def probe(asked: Engine) -> None:
            loading.probe(asked, manifest)

        accuracy = manifest.accuracy.value if manifest.accuracy else None
        return Hosted(engine, probe, loading.sample(engine, manifest), accuracy)
