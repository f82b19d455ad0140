"""Whatever happens to it, a request ends once, and its token of the model's breaker with it: simulated by chance."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from simulated import FULL, Case

from sloctl.admission.breaker import NO_TOKEN, Breaker
from sloctl.board import BreakerCommand
from sloctl.engines.base import EngineError, Execution, Inputs

BREAKER = {
    "minimumNumberOfCalls": 3,
    "permittedNumberOfCallsInHalfOpenState": 3,
    "waitDurationInOpenState": "500ms",
    "recloseRamp": "500ms",
}
LASTS, STEPS = 6.0, 60  # seconds, and how often something changes in them
SEEDS = range(16)


class Ledger:
    """Tokens that a breaker has given, less those that came back."""

    def __init__(self, breaker: Breaker) -> None:
        self.out, self.given = Counter[int](), 0
        self._acquire, self._successes = breaker.acquire, breaker.successes
        self._failure, self._release = breaker.failure, breaker.release
        breaker.acquire, breaker.successes = self.acquire, self.successes  # type: ignore[method-assign]
        breaker.failure, breaker.release = self.failure, self.release  # type: ignore[method-assign]

    def acquire(self, now: float) -> int | None:
        token = self._acquire(now)
        if token is not None:
            self.out[token] += 1
            self.given += 1
        return token

    def successes(self, tokens: Sequence[int], *more: Any) -> None:
        self.out.subtract(tokens)
        self._successes(tokens, *more)

    def failure(self, token: int, *more: Any) -> None:
        self.out[token] -= 1
        self._failure(token, *more)

    def release(self, token: int) -> None:
        self.out[token] -= 1
        self._release(token)

    @property
    def outstanding(self) -> dict[int, int]:
        return {token: count for token, count in self.out.items() if count and token != NO_TOKEN}


class Story:
    """Requests of all kinds, while variants fail and the control plane changes its mind."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.sequence, self.asked = 0, 0
        self.failing: set[str] = set()
        admission: dict[str, Any] = {"limit": chance.choice(["off", "gradient", "aimd", 8])}
        admission["reserved"] = chance.choice([{}, {"low": 0.2}])
        model = {
            "variants": ["fp32", "int8"],
            "maxBatch": FULL,
            "maxQueue": chance.choice([4, 4096]),
            "clientPrecision": True,
            "admission": admission,
            "breaker": BREAKER,
            "batchWait": chance.choice(["0s", "2ms"]),
        }
        tenants = chance.choice([None, {"rate": 500}])
        targets = {"m": chance.choice([0.05, 0.3])}
        self.case = Case(folder, chance.choice([1, 2]), model=model, targets=targets, tenants=tenants)
        self.model = self.case.model
        self.model.inline_below = chance.choice([0.0, 1.0])
        self.model.soon_below = 0.0  # a simulated engine has no flights
        for variant, device in zip(self.model.variants, self.case.devices, strict=True):
            device.engine.infer = self._unreliable(variant.name, device.engine.infer)  # type: ignore[method-assign]
        self.ledger = Ledger(self.model._guard.breaker)

    def _unreliable(self, name: str, infer: Any) -> Any:
        def run(*requests: Inputs) -> Execution:
            found: Execution = infer(*requests)
            if name in self.failing:
                raise EngineError("broken")
            return found

        return run

    def change(self) -> None:
        """The control plane says something else, or what fails does."""
        chance, cell = self.chance, self.model._control
        self.failing = set(chance.choice(["", "", "fp32", "int8", "fp32 int8"]).split())
        changes: dict[str, Any] = {
            "variant": chance.randrange(2),
            "stand_ins": chance.randrange(4),
            "tiers": tuple(chance.choice([-1, -1, 0, 1]) for _ in range(3)),
            "admit": tuple(chance.choice([1.0, 1.0, 0.5, 0.0]) for _ in range(3)),
            "limit": chance.choice([0, 0, 2, 20]),
            "breaker": chance.choice(list(BreakerCommand)),
        }
        name = chance.choice(list(changes))
        self.sequence += name == "breaker"
        cell.write(replace(cell.read(), **{name: changes[name]}, breaker_sequence=self.sequence))

    def happen(self) -> None:
        """All of it, and what is left to do after it."""
        chance = self.chance
        for step in range(STEPS):
            begin, length = step * LASTS / STEPS, LASTS / STEPS
            self.case.world.at(begin, self.change)
            for _ in range(chance.choice([3, 30, 120])):
                self.asked += 1
                self.case.request(
                    begin + chance.random() * length,
                    rows=chance.choice([1, 1, 4]),
                    priority=chance.randrange(3),
                    deadline=chance.choice([3e-3, 20e-3, 1.0, 60.0]),
                    tenant=chance.choice("ab"),
                    precision=chance.choice(["", "", "fp32", "int8"]),
                )
        self.case.last(LASTS + 5.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_request_ends_once_and_gives_its_token_back(tmp_path: Path, seed: int) -> None:
    story = Story(tmp_path, seed)
    story.happen()
    assert story.ledger.given > 0
    assert story.ledger.outstanding == {}
    assert (len(story.case.ended), story.model.inflight, story.model._queues.length) == (story.asked, 0, 0)
