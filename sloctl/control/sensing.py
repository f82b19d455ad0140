"""What the control plane sees: the boards, the processes, the host and the GPUs, read once a tick or a second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan

from sloctl.board import Boards, Snapshot
from sloctl.config.devices import labels
from sloctl.control.health import Health, read_health
from sloctl.control.layers import Layers
from sloctl.control.process import ProcessReading, host_memory, read_process
from sloctl.control.rates import Recent
from sloctl.control.sizes import RequestSizes
from sloctl.telemetry.catalogue import CLASS_VARIANT, SERVING_VARIANT
from sloctl.telemetry.families import Family
from sloctl_exporters.nvml import GpuFacts
from sloctl_exporters.nvml_ticker import Ticker

_SLOW = 1.0  # seconds between readings of what is not on the board


def worst_gpu(found: Sequence[GpuFacts]) -> GpuFacts | None:
    """Several GPUs as one, the worst in each respect: a policy that protects one protects all. None without any."""
    if len(found) < 2:
        return found[0] if found else None
    fullest = max(found, key=lambda gpu: _ratio(gpu.memory_used, gpu.memory_total))
    return GpuFacts(
        memory_used=fullest.memory_used,
        memory_total=fullest.memory_total,
        temperature=_most([gpu.temperature for gpu in found]),
        utilization=_most([gpu.utilization for gpu in found]),
        power=_most([gpu.power for gpu in found]),
        throttled=any(gpu.throttled for gpu in found),
        clocks_event_reasons=frozenset[str]().union(*(gpu.clocks_event_reasons for gpu in found)),
        xid_times=tuple(sorted(at for gpu in found for at in gpu.xid_times)),
    )


def _most(values: Sequence[float]) -> float:
    return max((value for value in values if not isnan(value)), default=nan)


def _ratio(used: float, total: float) -> float:
    return used / total if total > 0 else 0.0


@dataclass
class Senses:
    """All readings, refreshed by `look`. Times are monotonic seconds."""

    board: Boards
    hosts: Sequence[str]  # the device of each data plane
    nvml: Ticker  # on a thread of its own: a driver that hangs must not hold up the ticks
    pins: Mapping[tuple[str, str], str] = field(default_factory=dict)  # devices of pinned variants
    recent: Recent = field(default_factory=Recent)
    processes: dict[str, ProcessReading] = field(default_factory=dict)
    memories: dict[str, tuple[int, int]] = field(default_factory=dict)  # bytes in use and in all, by device
    gpus: dict[str, GpuFacts] = field(default_factory=dict)  # by device
    gpu: GpuFacts | None = None  # all of them, as the worst of each
    health: Health = field(init=False)
    layers: Layers = field(init=False)
    sizes: RequestSizes = field(init=False)
    _slow_at: float = float("-inf")
    _since: dict[str, tuple[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is known of layers and requests yet."""
        self.layers = Layers(self.board.topology)
        self.sizes = RequestSizes(self.board.topology)

    def look(self, now: float) -> Snapshot:
        """Takes a snapshot and refreshes what is due."""
        snapshot = self.board.snapshot()
        self.recent.push(now, snapshot)
        self.sizes.look(self.recent)
        serving = self._all_serving(snapshot)
        self.health = self._health(serving, now)
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
        return self._health(self._all_serving(self.board.snapshot()), now)

    def _health(self, serving: dict[str, str], now: float) -> Health:
        return read_health(self.board, labels(self.hosts), serving, now)

    @property
    def gpu_families(self) -> list[Family]:
        """The GPUs' metrics, as last read."""
        return self.nvml.families()

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes in use and in all of the device that is fullest."""
        return max(self.memories.values(), key=lambda memory: _ratio(*memory), default=(0, 0))

    def _look_around(self) -> None:
        self.processes = {}
        pids = {"data": [device.data.pid for device in self.health.devices], "control": [self.health.control.pid]}
        for plane, each in pids.items():
            if readings := [reading for pid in each if pid and (reading := read_process(pid))]:
                self.processes[plane] = ProcessReading.sum(readings)
        self.gpus = dict(self.nvml.facts())
        self.gpu = worst_gpu(list(self.gpus.values()))
        self.memories = {"cpu": host_memory()} if "cpu" in (*self.hosts, *self.pins.values()) else {}
        self.memories |= {d: (int(gpu.memory_used), int(gpu.memory_total)) for d, gpu in self.gpus.items()}

    def _all_serving(self, snapshot: Snapshot) -> dict[str, str]:
        return {model.name: self._serving(snapshot, model.name) for model in self.board.topology.models}

    def _serving(self, snapshot: Snapshot, model: str) -> str:
        # What the data plane says that it serves with, which trails the control word by at most a batch.
        variants = self.board.topology.model(model).variants
        named = (v for v in variants if snapshot.scalar(SERVING_VARIANT, model, v) == 1.0)
        return next(named, variants[min(self.board.control(model).read().variant, len(variants) - 1)])

    def tier(self, model: str, priority: str) -> str:
        """The variant that serves a class, as the data plane says."""
        snapshot, variants = self.recent.newest, self.board.topology.model(model).variants
        named = (v for v in variants if snapshot.scalar(CLASS_VARIANT, model, priority, v) == 1.0)
        return next(named, self.health.serving[model])

    def seconds_in_variant(self, model: str, now: float) -> float:
        """How long the serving variant has served, as far as this process has seen."""
        return now - self._since[model][1]
