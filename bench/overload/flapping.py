"""Does it flap? The daemon's own policy engine in `sloctl simulate`, hours in seconds, by ten seeds.

Stationary noise at 95 % of the level that leads to a switch, a clean step, and four more of simulate's courses for the
cooldown: nothing may come back inside it. Ticks are the daemon's for the noise, which counts by the sample, and a
second otherwise.
"""

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from bench.overload.goals import Finding, Goal, count
from bench.plans import ROOT
from sloctl.cli.simulate import setup_of
from sloctl.config.project import load_project
from sloctl.policy.decisions import Decision
from sloctl.simulate.load import Scale, Shape, synthetic
from sloctl.simulate.plant import Variant
from sloctl.simulate.run import Setup, simulate

SEEDS = tuple(range(1, 11))
_HOUR = 3600.0
_TICK = 0.25  # seconds
_VARIANTS = {"fp32": Variant("fp32", 0.98, {1: 0.002}), "int8": Variant("int8", 0.97, {1: 0.001})}
_COURSES = (Shape.RAMP, Shape.SINE, Shape.SQUARE, Shape.FLASH_CROWD)


@dataclass(frozen=True)
class Policy:
    """A file, and the share of the most accurate variant's capacity that its way down leaves free."""

    path: Path
    margin: float

    @property
    def name(self) -> str:
        """Its path in the project."""
        return str(self.path.relative_to(ROOT))


POLICIES = (
    Policy(ROOT / "rules/policies/planner.yaml", 0.15),
    Policy(ROOT / "examples/digits/policy.yaml", 0.2),
)


def measure(policy: Policy, seeds: Sequence[int] = SEEDS, hours: float = 1.0) -> list[Finding]:
    """Switches by seed: in an hour of noise, after a step, and those that came back inside the cooldown."""
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(partial(once, policy, hours), seeds))
    noise, off, back = zip(*found, strict=True)
    return [
        Finding(f"switches in an hour of noise at 95 % ({policy.name})", Goal(2), noise),
        Finding(f"switches more or fewer than one after a clean step ({policy.name})", count(0), off),
        Finding(f"steps back up inside the cooldown, on six courses ({policy.name})", count(0), back),
    ]


def once(policy: Policy, hours: float, seed: int) -> tuple[float, float, float]:
    """Switches in an hour of noise, how far those after a step are from one, and those back inside the cooldown."""
    setup, length = _setup(policy.path), hours * _HOUR
    noise = _switches(setup, Shape.NOISE, policy.margin, length, _TICK, seed)
    step = _switches(setup, Shape.STEP, policy.margin, length, 1.0, seed)
    others = [_switches(setup, shape, policy.margin, length / 2, 1.0, seed) for shape in _COURSES]
    back = sum(_early(found, setup.policy.spec.cooldown) for found in (noise, step, *others))
    return len(noise) / hours, abs(len(step) - 1.0), float(back)


def _setup(policy: Path) -> Setup:
    """The digits example with this policy; fp32 carries 500/s, int8 1000/s."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("sloctl.yaml", "slo.yaml"):
            text = (ROOT / "examples/digits" / name).read_text().replace("../../rules", str(ROOT / "rules"))
            (folder / name).write_text(text)
        shutil.copyfile(policy, folder / "policy.yaml")
        return setup_of(load_project(folder / "sloctl.yaml"), None, _VARIANTS)


def _switches(setup: Setup, shape: Shape, margin: float, length: float, tick: float, seed: int) -> list[Decision]:
    capacities = [variant.capacity for variant in setup.variants]
    scale = Scale.of(capacities, margin, setup.policy.spec.cooldown)
    result = simulate(setup, synthetic(shape, scale, len(setup.classes), length, tick, seed))
    return [decision for decision in result.decisions if decision.action.startswith("precision:")]


def _early(switches: list[Decision], cooldown: float) -> int:
    return sum(b.action == "precision:up" and b.at - a.at < cooldown for a, b in pairwise(switches))
