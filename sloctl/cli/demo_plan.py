"""What the demo plays: every number that shapes a run is here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sloctl.config.project import load_project
from sloctl.load.schedule import Phase, Schedule, plan
from sloctl.slo.objective import Threshold

MODEL = "digits"
SLO = "digits-latency"
SEED = 2024
SHARES = (0.2, 0.5, 0.3)  # of the priority classes, highest first

# Phases, by the name that tables and checks use.
CALM, RISE, SURGE, FAULTS, LAST = "calm", "rise", "surge", "faults", "calm again"

POLL = 0.25  # seconds between two looks at the daemon
FAULTS_AFTER = 1.5  # seconds into their phase, when the load has come down
FAULTS_FOR = 5.0


def phases(accurate: float, fast: float) -> tuple[Phase, ...]:
    """A day in short, for the measured capacities (requests/s) of the most accurate and the fastest variant.

    The rise lies above what the first can carry and below what the second can, the surge above both.
    """
    rise = min(1.6 * accurate, 0.7 * fast)
    return (
        Phase(CALM, 8, 0.4 * accurate),
        Phase(RISE, 13, rise, ramp=3),
        Phase(SURGE, 13, 1.5 * fast, ramp=1),
        Phase(FAULTS, 9, 0.5 * accurate, ramp=1),
        Phase(LAST, 14, 0.4 * accurate),
    )


@dataclass(frozen=True, slots=True)
class Scenario:
    """What both runs are held against: `objective` and `deadline` in seconds, `variants` most accurate first."""

    model: str
    slo: str
    priorities: tuple[str, ...]
    variants: tuple[str, ...]
    objective: float
    target: float
    deadline: float
    seed: int = SEED

    @classmethod
    def read(cls, config: Path) -> "Scenario":
        """What a run's own files promise. Raises ConfigError."""
        project = load_project(config)
        model = next(model for model in project.daemon.models if model.name == MODEL)
        objective = next(found for found in project.bundle.objectives if found.name == SLO)
        if not isinstance(objective.indicator, Threshold):
            raise TypeError(f"{SLO} is not a latency SLO")
        return cls(
            model=model.name,
            slo=objective.name,
            priorities=tuple(project.daemon.priorities),
            variants=model.names,
            objective=objective.indicator.value,
            target=objective.target,
            deadline=model.deadline,
        )

    def schedule(self, phases: Sequence[Phase]) -> Schedule:
        """The arrivals of some phases."""
        return plan(phases, dict(zip(self.priorities, SHARES, strict=False)), self.seed)
