"""What the control plane sees: the board, the processes, the host and the GPU, read once a tick or a second."""

from dataclasses import dataclass, field

from sloctl.board import Board, Snapshot
from sloctl.control.health import Health, read_health
from sloctl.control.layers import Layers
from sloctl.control.process import ProcessReading, host_memory, read_process
from sloctl.control.rates import Recent
from sloctl.telemetry.catalogue import SERVING_VARIANT
from sloctl.telemetry.families import Family
from sloctl_exporters.nvml import GpuFacts, NvmlSource

_SLOW = 1.0  # seconds between readings of what is not on the board


@dataclass
class Senses:
    """All readings, refreshed by `look`. Times are monotonic seconds."""

    board: Board
    device: str
    nvml: NvmlSource
    recent: Recent = field(default_factory=Recent)
    processes: dict[str, ProcessReading] = field(default_factory=dict)
    memory: tuple[int, int] = (0, 0)
    gpu: GpuFacts | None = None
    gpu_families: list[Family] = field(default_factory=list)
    health: Health = field(init=False)
    layers: Layers = field(init=False)
    _slow_at: float = float("-inf")
    _since: dict[str, tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is known of layers yet."""
        self.layers = Layers(self.board.topology)

    def look(self, now: float) -> Snapshot:
        """Takes a snapshot and refreshes what is due."""
        snapshot = self.board.snapshot()
        self.recent.push(now, snapshot)
        serving = self._all_serving(snapshot)
        self.health = read_health(self.board, serving, now)
        for model, variant in serving.items():
            if self._since.get(model, ("", 0.0))[0] != variant:
                self._since[model] = (variant, now)
        if now - self._slow_at >= _SLOW:
            self._slow_at = now
            self._look_around()
            self.layers.update(now, snapshot)
        return snapshot

    def look_at_health(self, now: float) -> Health:
        """Health at this moment, between two ticks."""
        return read_health(self.board, self._all_serving(self.board.snapshot()), now)

    def _look_around(self) -> None:
        pids = {"data": self.health.data.pid, "control": self.health.control.pid}
        readings = {plane: read_process(pid) for plane, pid in pids.items() if pid}
        self.processes = {plane: reading for plane, reading in readings.items() if reading}
        self.gpu_families = list(self.nvml.read())
        self.gpu = self.nvml.facts(self.device) if self.device != "cpu" else None
        used, total = host_memory()
        if self.gpu is not None:
            used, total = int(self.gpu.memory_used), int(self.gpu.memory_total)
        self.memory = (used, total)

    def _all_serving(self, snapshot: Snapshot) -> dict[str, str]:
        return {model.name: self._serving(snapshot, model.name) for model in self.board.topology.models}

    def _serving(self, snapshot: Snapshot, model: str) -> str:
        # What the data plane says that it serves with, which trails the control word by at most a batch.
        variants = self.board.topology.model(model).variants
        named = (v for v in variants if snapshot.scalar(SERVING_VARIANT, model, v) == 1.0)
        return next(named, variants[min(self.board.control(model).read().variant, len(variants) - 1)])

    def seconds_in_variant(self, model: str, now: float) -> float:
        """How long the serving variant has served, as far as this process has seen."""
        return now - self._since[model][1]
