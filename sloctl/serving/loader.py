"""Brings variants up level by level, so that health says how far each one came and why no further."""

import asyncio
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from sloctl.board import LevelState
from sloctl.config.daemon import ModelConfig
from sloctl.engines.base import Engine, Inputs
from sloctl.engines.manifest import ManifestError
from sloctl.engines.measure import latencies
from sloctl.engines.preflight import PreflightError
from sloctl.serving.buckets import check as check_buckets
from sloctl.serving.cost import Cost
from sloctl.serving.faults import DeviceFaults, FaultyEngine
from sloctl.serving.memory import Need, require
from sloctl.serving.model import ModelService
from sloctl.serving.variant import Loaded, Variant
from sloctl.serving.worker import EngineThread, settle

log = structlog.get_logger("sloctl.serving")
_T = TypeVar("_T")
_MEASURE = 0.5  # seconds for the capacity of a variant
_LOOK = 1.0  # seconds between looks at what is not loaded
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0  # seconds before a variant that failed is tried again


@dataclass(frozen=True, slots=True)
class Hosted:
    """A loaded engine with what its manifest knows: a checked dummy inference, its input, the accuracy."""

    engine: Engine
    probe: Callable[[Engine], None]
    sample: Inputs
    accuracy: float | None


class Hosting(Protocol):
    """Where engines come from. Checks return what they found; every method raises exceptions for people."""

    def check_device(self, folder: Path) -> str:
        """Level 1: the device is there and answers."""

    def check_monitoring(self, folder: Path) -> str:
        """Whether the device's management library answers; inference does not need it."""

    @property
    def faults(self) -> DeviceFaults:
        """Ways to break the device, for tests."""

    def check_runtime(self, folder: Path) -> str:
        """Level 2: the runtime that the variant needs is there."""

    def check_model(self, folder: Path) -> str:
        """Level 3: the model file is whole and fits its manifest."""

    def need(self, folder: Path) -> Need:
        """The memory that a load takes."""

    def free_memory(self, folder: Path) -> int:
        """Free bytes of the device, or of the one that the variant in a folder goes to."""

    def preflight(self, folder: Path, config: ModelConfig) -> str:
        """Loads it in a throw-away process first, where that is wanted. Raises PreflightError."""

    def load(self, folder: Path, config: ModelConfig) -> Hosted:
        """Level 4: an engine with an execution context."""


class LevelError(Exception):
    """A variant did not come up: `level` says how far it came."""

    def __init__(self, level: str, message: str) -> None:
        super().__init__(message)
        self.level = level


Report = Callable[[str, str], None]  # told each level that is passed, and what was found there


def bring_up(hosting: Hosting, folder: Path, model: ModelService, variant: Variant, report: Report) -> Loaded:
    """Checks, loads, probes and measures one variant; blocking. Raises LevelError."""
    for level, check in _checks(hosting, folder).items():
        report(level, _try(level, check))
    _try("context", lambda: _require_memory(hosting, folder, model))
    _try("model", lambda: hosting.preflight(folder, model.config))
    hosted = _try("context", lambda: hosting.load(folder, model.config))
    try:
        buckets, engine = model.config.shape_buckets, hosted.engine
        _try("model", lambda: check_buckets(buckets, engine.inputs, engine.outputs))
        report("context", hosted.engine.runtime)
        _try("inference", lambda: hosted.probe(hosted.engine))
        cost = Cost(_try("inference", lambda: latencies(hosted.engine, _MEASURE)))
    except BaseException:
        hosted.engine.close()
        raise
    report("inference", f"{cost.capacity:.0f} rows a second at best")
    engine = FaultyEngine(hosted.engine, variant.switch, hosting.faults) if model.fault_injection else hosted.engine
    return Loaded(engine, cost, lambda: hosted.probe(engine), hosted.sample, hosted.accuracy)


def _checks(hosting: Hosting, folder: Path) -> Mapping[str, Callable[[], str]]:
    return {
        "device": lambda: hosting.check_device(folder),
        "runtime": lambda: hosting.check_runtime(folder),
        "model": lambda: hosting.check_model(folder),
    }


def _require_memory(hosting: Hosting, folder: Path, model: ModelService) -> str:
    return require(hosting.need(folder), hosting.free_memory(folder), model.memory_taken, model.config.memory_budget)


def _try(level: str, step: Callable[[], _T]) -> _T:
    try:
        return step()
    except ManifestError as error:
        raise LevelError("model", str(error)) from error  # whichever step read it
    except PreflightError as error:
        raise LevelError(error.level, f"preflight: {error}") from error
    except Exception as error:
        raise LevelError(level, str(error) or type(error).__name__) from error


@dataclass(slots=True)
class _Retry:
    """When a variant that did not come up is tried again, and what its folder held when it was tried last."""

    pause: float
    due: float
    files: object


class Loader:
    """Brings all variants of all models up, one after another, in a thread of its own; and again what failed."""

    def __init__(
        self,
        hosting: Hosting,
        repository: Path,
        thread: EngineThread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hosting = hosting
        self._repository = repository
        self._thread = thread
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._retries: dict[Variant, _Retry] = {}

    async def load(self, model: ModelService) -> None:
        """Tries every variant of a model, then lets it serve with what came up."""
        for variant in model.variants:
            await self._load(model, variant)
        self._agree(model)
        model.open()
        if model.serving is None:
            log.error("no variant of a model came up", model=model.name, reason=model.trouble)

    async def recover(self, models: Collection[ModelService]) -> None:
        """For ever: tries again what is not loaded."""
        while True:
            await asyncio.sleep(_LOOK)
            for model in models:
                await self.retry(model)

    async def retry(self, model: ModelService) -> None:
        """Tries each variant that is not loaded and whose time has come, or whose files have changed."""
        for variant in model.variants:
            retry = self._retries.get(variant)
            if variant.loaded is not None or retry is None:
                continue
            changed = _files(self._folder(model, variant)) != retry.files
            if changed:
                retry.pause = _FIRST_PAUSE / 2  # it begins anew
            if changed or self._clock() >= retry.due:
                log.info("trying a variant again", model=model.name, variant=variant.name, files_changed=changed)
                await self._load(model, variant)
                self._agree(model)
                model.open()

    def _folder(self, model: ModelService, variant: Variant) -> Path:
        return self._repository / model.name / variant.name

    async def _load(self, model: ModelService, variant: Variant) -> None:
        folder = self._folder(model, variant)
        files = _files(folder)
        answer: asyncio.Future[Loaded | LevelError] = self._loop.create_future()

        def report(level: str, found: str) -> None:
            self._loop.call_soon_threadsafe(_passed, variant, level, found)

        def call() -> Loaded | LevelError:
            try:
                return bring_up(self._hosting, folder, model, variant, report)
            except LevelError as error:
                return error

        self._thread.submit(call, settle(answer))
        came = await answer
        if isinstance(came, LevelError):
            self._fail(model, variant, came.level, str(came), files)
            return
        self._retries.pop(variant, None)
        variant.take(came)
        log.info("variant warm", model=model.name, variant=variant.name, rows_per_second=round(came.cost.capacity))

    def _fail(self, model: ModelService, variant: Variant, level: str, reason: str, files: object) -> None:
        """Says at which level a variant failed, and when it is tried again."""
        before = self._retries.get(variant)
        pause = min(2 * before.pause, _LONGEST_PAUSE) if before else _FIRST_PAUSE
        self._retries[variant] = _Retry(pause, self._clock() + pause, files)
        variant.health.set(level, LevelState.FAILING, reason, time.monotonic())
        log.error("variant failed", model=model.name, variant=variant.name, level=level, reason=reason, again_in=pause)

    def _agree(self, model: ModelService) -> None:
        """Takes down variants whose tensors differ from the serving one's: a switch must not change the interface."""
        first = model.serving or next((variant for variant in model.variants if variant.loaded), None)
        for variant in model.variants:
            if first is None or variant.loaded is None:
                continue
            if (list(variant.inputs), list(variant.outputs)) != (list(first.inputs), list(first.outputs)):
                message = f"its inputs or outputs differ from those of variant {first.name}"
                variant.loaded.engine.close()
                variant.loaded = None
                self._fail(model, variant, "model", message, _files(self._folder(model, variant)))


def _files(folder: Path) -> object:
    """What tells one state of a variant's folder from another."""
    try:
        found = [(entry.name, entry.stat()) for entry in os.scandir(folder)]
    except OSError:
        return ()
    return sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found)


def _passed(variant: Variant, level: str, found: str) -> None:
    variant.health.set(level, LevelState.PASSING, found, time.monotonic())
