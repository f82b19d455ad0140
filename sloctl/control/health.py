"""The health verdict: five levels of each variant and both planes' heartbeats, folded into the three probes."""

from dataclasses import dataclass
from typing import Any

from sloctl.board import Board, Phase
from sloctl.board.health import LevelReading
from sloctl.board.status import StatusReading
from sloctl.telemetry.catalogue import HEALTH_LEVELS

PATIENCE = 1.0  # the data plane beats every 0.1 s; ten missed beats are no hiccup


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
class Health:
    """The state of everything at one moment (`now` in monotonic seconds)."""

    now: float
    data: StatusReading
    control: StatusReading
    variants: dict[tuple[str, str], VariantHealth]
    serving: dict[str, str]

    @property
    def data_up(self) -> bool:
        """Whether the data plane's loop turns."""
        return self.data.alive(self.now, PATIENCE)

    @property
    def ready(self) -> bool:
        """Ready: the data plane runs and every model's serving variant stands on all five levels."""
        return self.data_up and self.data.phase is Phase.RUNNING and not self.broken

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

    @property
    def started(self) -> bool:
        """Started: the data plane has left its first loading."""
        return self.data_up and self.data.phase in (Phase.RUNNING, Phase.DRAINING)

    @property
    def _ended(self) -> str:
        return f"; its last process ended: {self.data.ended}" if self.data.ended else ""

    def reasons(self) -> list[str]:
        """Why it is not ready; empty when it is."""
        if not self.data_up:
            return [f"data plane: no heartbeat (down or restarting){self._ended}"]
        if self.data.phase is not Phase.RUNNING:
            return [f"data plane: {self.data.phase.name.lower()}{self._ended}"]
        return self.broken


def read_health(board: Board, serving: dict[str, str], now: float) -> Health:
    """Reads the board; `serving` names each model's serving variant."""
    variants = {
        (model.name, variant): VariantHealth(
            tuple(board.health(model.name, variant, level).read() for level in HEALTH_LEVELS)
        )
        for model in board.topology.models
        for variant in model.variants
    }
    return Health(now, board.data_status.read(), board.control_status.read(), variants, serving)
