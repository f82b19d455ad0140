"""Samples layer times off the hot path: a copy of a real batch, in a thread of low priority."""

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from sloctl.board import LayerSample
from sloctl.config.daemon import ProfileConfig
from sloctl.engines.base import Engine, Inputs, Tensor
from sloctl.engines.batch import joined
from sloctl.engines.inspector import of_name
from sloctl.serving.model import ModelService
from sloctl.serving.variant import Variant
from sloctl.serving.worker import EngineThread, settle

log = structlog.get_logger("sloctl.serving")
_LOWEST = 19
_OTHERS_EVERY = 10  # the variants that do not serve are sampled once in so many turns


def _step_back() -> None:
    # On Linux a nice value belongs to a thread.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)


def pause(config: ProfileConfig, spent: float) -> float:
    """Seconds until the next profile, after one that took `spent`: its interval, or what keeps to its share."""
    return max(config.interval, spent / config.share)


def of_rows(requests: Sequence[Inputs], rows: int) -> dict[str, Tensor]:
    """A copy of the requests' inputs, repeated or cut to so many rows. Raises EngineError."""
    return {name: np.take(value, np.arange(rows) % len(value), axis=0) for name, value in joined(requests).items()}


@dataclass(frozen=True, slots=True)
class _Profile:
    layers: Sequence[LayerSample]
    seconds: float
    error: str = ""


def _profile(engine: Engine, requests: Sequence[Inputs], rows: int) -> _Profile:
    started = time.perf_counter()
    try:
        times = engine.profile(of_rows(requests, rows))
        infos = ((layer, engine.layers.get(layer.name) or of_name(layer.name)) for layer in times)
        layers = [LayerSample(layer.name, layer.seconds, info.kind, info.nodes) for layer, info in infos]
        return _Profile(layers, time.perf_counter() - started)
    except Exception as error:  # a profile that fails costs one sample, nothing else
        return _Profile([], time.perf_counter() - started, str(error) or type(error).__name__)


class Profiler:
    """Profiles every variant of a model once it is warm, then the serving one at each interval, the others rarely.

    All models share one thread, so at most one profile runs at a time.
    """

    def __init__(self, thread: EngineThread) -> None:
        self._thread = thread
        thread.submit(_step_back, lambda _: None)

    async def run(self, model: ModelService) -> None:
        """Profiles for ever; returns at once where it is turned off."""
        config = model.config.profile
        if not config.interval:
            return
        turn = 0
        while True:
            due = model.variants if turn % _OTHERS_EVERY == 0 else [model.serving] if model.serving else []
            spent = sum([await self.sample(variant, config) for variant in due])
            turn += 1
            await asyncio.sleep(pause(config, spent))

    async def sample(self, variant: Variant, config: ProfileConfig) -> float:
        """One profile onto the board, of the last batch or, before any, the manifest's probe input; its seconds."""
        loaded = variant.loaded
        if loaded is None:
            return 0.0
        done: asyncio.Future[_Profile] = asyncio.get_running_loop().create_future()
        on_host = all(isinstance(value, np.ndarray) for each in variant.last_requests for value in each.values())
        requests = variant.last_requests if variant.last_requests and on_host else [loaded.sample]
        rows = min(config.rows or loaded.engine.max_batch, loaded.engine.max_batch)
        self._thread.submit(lambda: _profile(loaded.engine, requests, rows), settle(done))
        profile = await done
        if profile.error:
            log.warning("profile failed", model=variant.model, variant=variant.name, error=profile.error)
        else:
            variant.cells.layers_other.set(variant.cells.layers.record(profile.layers))
            variant.cells.profiles.inc()
            variant.profile = time.monotonic(), profile.layers
        return profile.seconds
