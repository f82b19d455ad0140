"""Samples layer times off the hot path: a copy of a real batch, in a thread of low priority."""

import asyncio
import os
import threading
from collections.abc import Sequence

import structlog

from sloctl.engines.base import Engine, Inputs, LayerTime
from sloctl.serving.model import ModelService
from sloctl.serving.variant import Variant
from sloctl.serving.worker import EngineThread, settle

log = structlog.get_logger("sloctl.serving")
_LOWEST = 19


def _step_back() -> None:
    # On Linux a nice value belongs to a thread.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)


def _profile(engine: Engine, requests: Sequence[Inputs]) -> Sequence[LayerTime] | Exception:
    try:
        return engine.profile(*requests)
    except Exception as error:  # a profile that fails costs one sample, nothing else
        return error


class Profiler:
    """Profiles every variant of a model once when it is warm, then the serving one at each interval.

    All models share one thread, so at most one profile runs at a time.
    """

    def __init__(self, thread: EngineThread) -> None:
        self._thread = thread
        thread.submit(_step_back, lambda _: None)

    async def run(self, model: ModelService) -> None:
        """Profiles for ever; returns at once where it is turned off."""
        interval = model.config.profile.interval
        if not interval:
            return
        for variant in model.variants:
            await self.sample(variant)
        while True:
            await asyncio.sleep(interval)
            if model.serving is not None:
                await self.sample(model.serving)

    async def sample(self, variant: Variant) -> None:
        """One profile onto the board, of the last batch or, before any, the manifest's probe input."""
        loaded = variant.loaded
        if loaded is None:
            return
        done: asyncio.Future[Sequence[LayerTime] | Exception] = asyncio.get_running_loop().create_future()
        requests = variant.last_requests or [loaded.sample]
        self._thread.submit(lambda: _profile(loaded.engine, requests), settle(done))
        layers = await done
        if isinstance(layers, Exception):
            log.warning("profile failed", model=variant.model, variant=variant.name, error=str(layers))
            return
        variant.cells.layers.record([(layer.name, layer.seconds) for layer in layers])
        variant.cells.profiles.inc()
