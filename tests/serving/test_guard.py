"""The breakers of a model with three variants, whatever fails and comes back when: pure but for the board."""

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from sloctl.admission.breaker import NO_TOKEN, Breaker, BreakerState, Command
from sloctl.board import Board, ModelTopology, Topology
from sloctl.config.daemon import BreakerConfig
from sloctl.serving.guard import Guard
from sloctl.serving.rotation import Rotation

PERMITS, WAIT = 3, 5.0
NAMES = ("fp32", "fp16", "int8")


def config(**more: Any) -> BreakerConfig:
    return BreakerConfig(
        sliding_window_size=10,
        minimum_number_of_calls=4,
        wait_duration_in_open_state=WAIT,
        permitted_number_of_calls_in_half_open_state=PERMITS,
        **more,
    )


class Variant:
    """As much of one as breakers are about; `fails` is the share of its requests that fail."""

    def __init__(self, settings: BreakerConfig, chance: random.Random) -> None:
        self.breaker = Breaker(settings, None, chance.random)
        self.up, self.answers, self.fails = True, True, 0.0
        self.breaker_cells = SimpleNamespace(show=lambda *_: None)

    @property
    def steady(self) -> bool:
        return self.up and self.breaker.steady


class Model:
    """Requests of a model, each begun and ended in a step of its own."""

    def __init__(self, seed: int, settings: BreakerConfig) -> None:
        self.chance = random.Random(seed)
        self.variants = [Variant(settings, self.chance) for _ in NAMES]
        self.rotation = Rotation(self.variants, lambda before, serving: None)  # type: ignore[arg-type]
        topology = Topology((ModelTopology("m", NAMES),), ("normal",), (1.0,), (1.0,), layers=1)
        self.guard = Guard(settings, Board.create(topology), "m", self.rotation)
        self.rotation.complete = True
        self.rotation.follow(0, -1)
        self.now = 0.0
        self.ended: Counter[str] = Counter()
        self.running: list[tuple[Any, list[Any]]] = []

    def begin(self, requests: int) -> None:
        self.rotation.choose()
        tokens = [self.guard.breaker.acquire(self.now) for _ in range(requests)]
        batch = [
            SimpleNamespace(wish=None, token=token, variant_token=NO_TOKEN) for token in tokens if token is not None
        ]
        self.ended["refused"] += requests - len(batch)
        if batch:
            parts = self.rotation.split(batch, self.now, probing=self.guard.probing)  # type: ignore[arg-type]
            assert sum(len(part) for _, part in parts) == len(batch)
            self.running += parts

    def end(self) -> None:
        variant, batch = self.running.pop(self.chance.randrange(len(self.running)))
        if self.chance.random() < variant.fails:
            self.guard.failed(batch, variant, self.now, 0.01)
            self.ended["failed"] += len(batch)
        else:
            self.guard.succeeded(batch, variant, self.now, 0.01)
            self.ended["ok"] += len(batch)

    def serve(self, requests: int, every: float = 0.1) -> Counter[str]:
        """What became of so many requests, one after another."""
        before = self.ended.copy()
        for _ in range(requests):
            self.now += every
            self.guard.tick(self.now)
            self.begin(1)
            while self.running:
                self.end()
        return self.ended - before


SETTINGS = [config(), config(reclose_ramp=0.0), config(enable_exponential_backoff=True, enable_randomized_wait=True)]


@pytest.mark.parametrize("seed", range(30))
def test_while_one_variant_is_well_the_models_breaker_stays_closed(seed: int) -> None:
    """The others fail and come back as they like; few requests fail, and none is refused."""
    model = Model(seed, SETTINGS[seed % len(SETTINGS)])
    well = model.chance.choice(model.variants)
    for _ in range(20):
        for variant in model.variants:
            variant.fails = 0.0 if variant is well else model.chance.choice((0.0, 1.0, 1.0))
        ended = model.serve(100)
        assert ended["refused"] == 0
        assert model.guard.breaker.state is BreakerState.CLOSED
        # Each of the two others fails its four calls once; then, every 5 s of the 10 s, its permits.
        assert ended["failed"] <= 2 * (4 + 3 * PERMITS)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happened_it_serves_again_once_a_variant_is_well(seed: int) -> None:
    model = Model(seed, SETTINGS[seed % len(SETTINGS)])
    for _ in range(200):
        die = model.chance.random()
        if die < 0.4:
            model.begin(model.chance.randint(1, 8))
        elif die < 0.7 and model.running:
            model.end()
        elif die < 0.8:
            model.chance.choice(model.variants).fails = model.chance.choice((0.0, 0.5, 1.0))
        elif die < 0.9:
            variant = model.chance.choice(model.variants)
            variant.up, variant.answers = (model.chance.random() < 0.8 for _ in range(2))
        elif die < 0.93:
            model.rotation.follow(model.chance.randrange(3), -1)
        else:
            model.now += model.chance.choice((0.0, 1.0, WAIT, 60.0))
            model.guard.tick(model.now)
        probing = model.guard.breaker
        assert probing.results.calls <= (PERMITS if probing.state is BreakerState.HALF_OPEN else 10)
    well = model.chance.choice(model.variants)
    for variant in model.variants:
        variant.up, variant.answers = True, True
        variant.fails = 0.0 if variant is well else 1.0
    model.serve(2000, every=1.0)  # the waits grow, and each has its turn
    ended = model.serve(1000, every=0.01)
    assert ended["ok"] >= 970
    assert model.guard.breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("seed", range(5))
def test_where_all_fail_the_models_breaker_opens_and_the_load_on_them_ends(seed: int) -> None:
    model = Model(seed, SETTINGS[0])
    model.serve(50)
    for variant in model.variants:
        variant.fails = 1.0
    ended = model.serve(60, every=0.001)
    assert model.guard.breaker.state is BreakerState.OPEN
    assert ended["failed"] <= 3 * 10, "of each at most its window, which was full of successes"
    for variant in model.variants:
        variant.fails = 0.0
    assert model.serve(300)["ok"] > 150
    assert model.serve(100) == Counter(ok=100)


def test_while_the_wanted_variant_is_out_the_one_that_stands_in_stays() -> None:
    """One nearer to the wanted that is well again is no reason for another switch."""
    model = Model(0, SETTINGS[0])
    wanted, nearer, last = model.variants
    wanted.fails = nearer.fails = 1.0
    model.serve(20, every=0.01)
    assert model.rotation.serving is last
    nearer.fails = 0.0
    nearer.breaker.command(Command.CLOSE, model.now)
    model.serve(20, every=0.01)
    assert model.rotation.serving is last
