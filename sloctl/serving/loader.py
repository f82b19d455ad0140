"""Brings variants up level by level, so that health says how far each one came and why no further."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from sloctl.board import LevelState
from sloctl.config.daemon import ModelConfig
from sloctl.engines.base import Engine, Inputs
from sloctl.engines.manifest import ManifestError
from sloctl.engines.measure import latencies
from sloctl.serving.cost import Cost
from sloctl.serving.faults import DeviceFaults, FaultyEngine
from sloctl.serving.model import ModelService
from sloctl.serving.variant import Loaded, Variant
from sloctl.serving.worker import EngineThread, settle

log = structlog.get_logger("sloctl.serving")
_T = TypeVar("_T")
_LEVEL_OF_LOAD = "context"
_MEASURE = 0.5  # seconds for the capacity of a variant


@dataclass(frozen=True, slots=True)
class Hosted:
    """A loaded engine with what its manifest knows: a checked dummy inference, its input, the accuracy."""

    engine: Engine
    probe: Callable[[Engine], None]
    sample: Inputs
    accuracy: float | None


class Hosting(Protocol):
    """Where engines come from. Checks return what they found; every method raises exceptions for people."""

    def check_device(self) -> str:
        """Level 1: the device is there and answers."""

    def check_monitoring(self) -> str:
        """Whether the device's management library answers; inference does not need it."""

    @property
    def faults(self) -> DeviceFaults:
        """Ways to break the device, for tests."""

    def check_runtime(self, folder: Path) -> str:
        """Level 2: the runtime that the variant needs is there."""

    def check_model(self, folder: Path) -> str:
        """Level 3: the model file is whole and fits its manifest."""

    def load(self, folder: Path, config: ModelConfig) -> Hosted:
        """Level 4: an engine with an execution context."""


class LevelError(Exception):
    """A variant did not come up: `level` says how far it came."""

    def __init__(self, level: str, message: str) -> None:
        super().__init__(message)
        self.level = level


Report = Callable[[str, str], None]  # told each level that is passed, and what was found there


def bring_up(hosting: Hosting, folder: Path, config: ModelConfig, model: ModelService, report: Report) -> Loaded:
    """Checks, loads, probes and measures one variant; blocking. Raises LevelError."""
    for level, check in _checks(hosting, folder).items():
        report(level, _try(level, check))
    hosted = _try(_LEVEL_OF_LOAD, lambda: hosting.load(folder, config))
    engine = FaultyEngine(hosted.engine, model.switch, hosting.faults) if model.fault_injection else hosted.engine
    report(_LEVEL_OF_LOAD, hosted.engine.runtime)
    _try("inference", lambda: hosted.probe(hosted.engine))
    cost = Cost(_try("inference", lambda: latencies(hosted.engine, _MEASURE)))
    report("inference", f"{cost.capacity:.0f} rows a second at best")
    return Loaded(engine, cost, lambda: hosted.probe(engine), hosted.sample, hosted.accuracy)


def _checks(hosting: Hosting, folder: Path) -> Mapping[str, Callable[[], str]]:
    return {
        "device": hosting.check_device,
        "runtime": lambda: hosting.check_runtime(folder),
        "model": lambda: hosting.check_model(folder),
    }


def _try(level: str, step: Callable[[], _T]) -> _T:
    try:
        return step()
    except ManifestError as error:
        raise LevelError("model", str(error)) from error  # whichever step read it
    except Exception as error:
        raise LevelError(level, str(error) or type(error).__name__) from error


class Loader:
    """Brings all variants of all models up, one after another, in a thread of its own."""

    def __init__(self, hosting: Hosting, repository: Path, thread: EngineThread) -> None:
        self._hosting = hosting
        self._repository = repository
        self._thread = thread
        self._loop = asyncio.get_running_loop()

    async def load(self, model: ModelService) -> None:
        """Tries every variant of a model, then lets it serve with what came up."""
        for variant in model.variants:
            await self._load(model, variant)
        self._agree(model)
        model.open()
        if model.serving is None:
            log.error("no variant of a model came up", model=model.name, reason=model.trouble)

    async def _load(self, model: ModelService, variant: Variant) -> None:
        folder = self._repository / model.name / variant.name
        answer: asyncio.Future[Loaded | LevelError] = self._loop.create_future()

        def report(level: str, found: str) -> None:
            self._loop.call_soon_threadsafe(_passed, variant, level, found)

        def call() -> Loaded | LevelError:
            try:
                return bring_up(self._hosting, folder, model.config, model, report)
            except LevelError as error:
                return error

        self._thread.submit(call, settle(answer))
        came = await answer
        if isinstance(came, LevelError):
            variant.health.set(came.level, LevelState.FAILING, str(came), time.monotonic())
            log.error("variant failed", model=model.name, variant=variant.name, level=came.level, reason=str(came))
            return
        variant.take(came)
        log.info("variant warm", model=model.name, variant=variant.name, rows_per_second=round(came.cost.capacity))

    def _agree(self, model: ModelService) -> None:
        """Takes down variants whose tensors differ from the first one's: a switch must not change the interface."""
        first = next((variant for variant in model.variants if variant.loaded), None)
        for variant in model.variants:
            if first is None or variant.loaded is None:
                continue
            if (list(variant.inputs), list(variant.outputs)) != (list(first.inputs), list(first.outputs)):
                message = f"its inputs or outputs differ from those of variant {first.name}"
                variant.health.set("model", LevelState.FAILING, message, time.monotonic())
                log.error("variant does not fit", model=model.name, variant=variant.name, reason=message)
                variant.loaded.engine.close()
                variant.loaded = None


def _passed(variant: Variant, level: str, found: str) -> None:
    variant.health.set(level, LevelState.PASSING, found, time.monotonic())
