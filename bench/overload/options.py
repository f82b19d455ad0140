"""How long and how often: `BENCH_SECONDS` and `BENCH_SEEDS` shorten a run."""

import os
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Options:
    """Seconds of a measured load, of the storm of retries, of each step of the ramp to a peak; and seeds."""

    seconds: float = 3.0
    storm: float = 60.0
    seeds: tuple[int, ...] = (1, 2, 3)
    ramp: float = 3.0

    @classmethod
    def read(cls) -> "Options":
        """From the environment; the storm lasts twenty times `BENCH_SECONDS`."""
        seconds = float(os.environ.get("BENCH_SECONDS", "3"))
        seeds = int(os.environ.get("BENCH_SEEDS", "3"))
        return cls(seconds, 20 * seconds, tuple(range(1, seeds + 1)))

    @property
    def first(self) -> "Options":
        """With the first seed alone, for peers."""
        return replace(self, seeds=self.seeds[:1])
