"""Asks every loaded variant of a model, at intervals, whether it still infers."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from sloctl.board import LevelState
from sloctl.config.daemon import HealthConfig
from sloctl.serving.health import PROBE_SHARE, ProbeOutcome, stretched
from sloctl.serving.model import ModelService
from sloctl.serving.pending import Probe
from sloctl.serving.variant import Variant
from sloctl.serving.worker import settle

Check = Callable[[], object]


@dataclass(slots=True)
class Attempt:
    """What the checks said by level, and the level that failed (empty: none) with its reason."""

    said: dict[str, object]
    failed: str = ""
    why: str = ""
    seconds: float = 0.0


def attempt(checks: dict[str, Check]) -> Attempt:
    """Makes the checks by level, in order, up to the first that raises. Never raises itself."""
    started = time.perf_counter()
    attempt = Attempt({})
    for level, check in checks.items():
        try:
            attempt.said[level] = check()
        except Exception as error:  # whatever a runtime throws is a failed check
            attempt.failed, attempt.why = level, str(error) or type(error).__name__
            break
    attempt.seconds = time.perf_counter() - started
    return attempt


class Prober:
    """Probes the variants of one model, one after another, through the lane that its batches take.

    A probe waits for the running batch to end and goes before the next one, so it meets the engine as
    requests do. `share` is the part of time that the probes of this model may take.
    """

    def __init__(
        self, model: ModelService, config: HealthConfig, check_device: Check, share: float = PROBE_SHARE
    ) -> None:
        self._model = model
        self._config = config
        self._check_device = check_device
        self._share = share
        self._clock = time.monotonic

    async def run(self) -> None:
        """Probes for ever."""
        while True:
            spent = await self.round()
            await asyncio.sleep(stretched(self._config.interval, spent, self._share))

    async def round(self) -> float:
        """Probes each loaded variant once; returns the seconds that it took of the engines' time."""
        return sum([await self._probe(v) for v in self._model.variants if v.loaded is not None])

    async def _probe(self, variant: Variant) -> float:
        if variant.loaded is None:
            return 0.0
        if variant.hung_since is not None:
            since = self._clock() - variant.hung_since
            self._judge(variant, ProbeOutcome.FAILED, f"the engine hangs: a run has not come back for {since:.0f} s")
            return 0.0
        answer: asyncio.Future[Attempt | None] = asyncio.get_running_loop().create_future()
        busy: list[bool] = []

        def no_turn() -> None:
            busy.append(True)
            settle(answer)(None)

        checks = {"device": self._check_device, "inference": variant.loaded.probe}
        timeout = self._config.timeout
        self._model.probe(
            Probe(variant, lambda: attempt(checks), settle(answer), no_turn, timeout, self._clock() + timeout)
        )
        said = await answer
        if busy:
            self._judge(variant, ProbeOutcome.BUSY, f"the engine was busy for {timeout:g} s")
            return 0.0
        return self._conclude(variant, said)

    def _conclude(self, variant: Variant, said: Attempt | None) -> float:
        if said is None:
            self._judge(variant, ProbeOutcome.FAILED, f"no answer within {self._config.timeout:g} s")
            return self._config.timeout
        now = self._clock()
        self._model.cells.probe_seconds.inc(said.seconds)
        if said.failed == "device":
            variant.health.judge("device", ProbeOutcome.FAILED, False, said.why, now)
        else:
            variant.health.judge("device", ProbeOutcome.PASSED, False, str(said.said["device"]), now)
        if said.failed:
            self._judge(variant, ProbeOutcome.FAILED, said.why)
        else:
            self._judge(variant, ProbeOutcome.PASSED, f"answered in {said.seconds * 1000:.2f} ms")
        return said.seconds

    def _judge(self, variant: Variant, outcome: ProbeOutcome, message: str) -> LevelState:
        now = self._clock()
        recently = now - variant.last_success <= self._config.interval
        return variant.health.judge("inference", outcome, recently, message, now)
