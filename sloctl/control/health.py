"""The health verdict: five levels of each variant and both planes' heartbeats, folded into the three probes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sloctl.board import Board, Boards, ModelTopology, Phase
from sloctl.board.boards import PATIENCE
from sloctl.board.health import LevelReading, worst
from sloctl.board.status import StatusReading
from sloctl.telemetry.catalogue import HEALTH_LEVELS, SERVING_VARIANT


@dataclass(frozen=True, slots=True)
class VariantHealth:
    """The levels of one variant, lowest first."""

    levels: tuple[LevelReading, ...]

    @property
    def serves(self) -> bool:
        """Whether every level stands."""
        return all(level.state.serves for level in self.levels)

    @property
    def height(self) -> int:
        """How many levels stand, counted from the lowest: 0 to 5."""
        return next((i for i, level in enumerate(self.levels) if not level.state.serves), len(self.levels))

    def describe(self, now: float) -> list[dict[str, Any]]:
        """The levels for people and JSON; `sinceSuccess` in seconds, null if never."""
        return [
            {
                "level": name,
                "state": level.state.name.lower(),
                "message": level.message,
                "sinceSuccess": round(now - level.last_success, 3) if level.last_success else None,
            }
            for name, level in zip(HEALTH_LEVELS, self.levels, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """The state of one device's data plane; `serving` is what it says that it serves with."""

    device: str
    now: float
    data: StatusReading
    variants: dict[tuple[str, str], VariantHealth]
    serving: dict[str, str]

    @property
    def up(self) -> bool:
        """Whether the data plane's loop turns."""
        return self.data.alive(self.now, PATIENCE)

    @property
    def running(self) -> bool:
        """Whether it serves, well or not."""
        return self.up and self.data.phase is Phase.RUNNING

    @property
    def ready(self) -> bool:
        """Ready: the data plane runs and every model's serving variant stands on all five levels."""
        return self.running and not self.broken

    @property
    def broken(self) -> list[str]:
        """Why it is not ready, apart from the data plane itself."""
        found = []
        for model, variant in self.serving.items():
            health = self.variants[model, variant]
            if not health.serves:
                level = health.levels[health.height]
                found.append(f"{model}/{variant}: {HEALTH_LEVELS[health.height]}: {level.message or 'not reached'}")
        return found

    def reasons(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        ended = f"; its last process ended: {self.data.ended}" if self.data.ended else ""
        if not self.up:
            return [f"data plane: no heartbeat (down or restarting){ended}"]
        if self.data.phase is not Phase.RUNNING:
            return [f"data plane: {self.data.phase.name.lower()}{ended}"]
        return self.broken


@dataclass(frozen=True, slots=True)
class Health:
    """The state of everything at one moment (`now` in monotonic seconds); `serving` is that of the daemon as a whole.

    It is ready while any of its devices is: what a client sends is then answered.
    """

    now: float
    control: StatusReading
    devices: tuple[DeviceHealth, ...]
    serving: dict[str, str]

    @property
    def data(self) -> StatusReading:
        """The status of the data plane that is best off: its restarts are its own."""
        return max(self.devices, key=lambda device: (device.ready, device.running, device.up)).data

    @property
    def data_up(self) -> bool:
        """Whether any data plane's loop turns."""
        return any(device.up for device in self.devices)

    @property
    def ready(self) -> bool:
        """Whether requests are served."""
        return any(device.ready for device in self.devices)

    @property
    def started(self) -> bool:
        """Started: a data plane has left its first loading."""
        return any(device.up and device.data.phase in (Phase.RUNNING, Phase.DRAINING) for device in self.devices)

    @property
    def variants(self) -> dict[tuple[str, str], VariantHealth]:
        """The worst of each level among the devices that run (all, while none does)."""
        running = [device for device in self.devices if device.running] or list(self.devices)
        return {
            key: VariantHealth(
                tuple(map(_worst, zip(*(device.variants[key].levels for device in running), strict=True)))
            )
            for key in running[0].variants
        }

    def reasons(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        return [] if self.ready else self.troubles()

    def troubles(self) -> list[str]:
        """What is wrong with any device, with its name where there are several."""
        several = len(self.devices) > 1
        return [f"{d.device}: {why}" if several else why for d in self.devices for why in d.reasons()]


def _worst(readings: tuple[LevelReading, ...]) -> LevelReading:
    state = worst(reading.state for reading in readings)
    return next(reading for reading in readings if reading.state is state)


def read_health(boards: Boards, names: Sequence[str], serving: dict[str, str], now: float) -> Health:
    """Reads the boards of the devices of these `names`; `serving` names each model's serving variant."""
    devices = tuple(_read_device(board, name, now) for board, name in zip(boards, names, strict=True))
    return Health(now, boards.control_status.read(), devices, serving)


def _read_device(board: Board, name: str, now: float) -> DeviceHealth:
    variants = {
        (model.name, variant): VariantHealth(
            tuple(board.health(model.name, variant, level).read() for level in HEALTH_LEVELS)
        )
        for model in board.topology.models
        for variant in model.variants
    }
    serving = {model.name: serving_variant(board, model) for model in board.topology.models}
    return DeviceHealth(name, now, board.data_status.read(), variants, serving)


def serving_variant(board: Board, model: ModelTopology) -> str:
    """What a data plane says that it serves with, which trails the control word by at most a batch."""
    named = (v for v in model.variants if board.value(SERVING_VARIANT, model.name, v) == 1.0)
    wanted = board.control(model.name).read().variant
    return next(named, model.variants[min(wanted, len(model.variants) - 1)])
