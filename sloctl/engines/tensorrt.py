"""TensorRT: plans of 8.6 to 11, on the full, the lean or the RTX package, whichever is installed.

Built on the calls that all of them share (tensors by name, `execute_async_v3`). A plan is executable code:
load none that you did not build.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

from sloctl.engines import cuda
from sloctl.engines.base import EngineError, Execution, Flight, Inputs, LayerInfo, LayerTime, TensorSpec
from sloctl.engines.datatypes import NUMPY, TENSORRT
from sloctl.engines.inspector import parse
from sloctl.engines.tensorrt_pool import Pool
from sloctl.engines.tensorrt_runtime import check_version, module, new_profiler, reason, runtime, runtime_name
from sloctl.engines.tensorrt_slot import Context, Profile, Slot, Tensors

__all__ = ["TensorRTEngine", "check_version", "runtime_name"]


class _InSlot:
    """A batch in its slot, which is given back with its result."""

    __slots__ = ("_device", "_pool", "_slot")

    def __init__(self, pool: Pool, slot: Slot, device: int) -> None:
        self._pool, self._slot, self._device = pool, slot, device

    def wait(self, seconds: float) -> bool:
        """Whether it is done, asking over and over for so long. Raises EngineError."""
        until = perf_counter() + seconds
        while not self._slot.done():
            if perf_counter() >= until:
                return False
        return True

    def result(self) -> Execution:
        """Waits for it and gives the slot back. Raises EngineError."""
        try:
            cuda.call("SetDevice", self._device)  # the thread that waits may be another one
            return self._slot.finish()
        finally:
            self._pool.give_back(self._slot)


class TensorRTEngine:
    """A plan with a pool of hot contexts, one for checks and, once it is asked for, one for layer profiles."""

    def __init__(
        self, path: Path, *, device: str, max_batch: int, lean_runtime: str | None = None, contexts: int = 1
    ) -> None:
        """Deserialises the plan and creates its contexts, at least one on each profile. Raises EngineError."""
        self._device = cuda.select(device)
        self._lean = lean_runtime
        self._path = path
        self._profiler: tuple[Slot, Any] | None = None
        self._closed = False
        free = cuda.free_memory()
        self._engine = self._deserialise()
        self._tensors = self._read_tensors()
        profiles = self._read_profiles()
        limit = max(min(shape[0] for shape in profile.most) for profile in profiles)
        self._max_batch = min(max_batch, limit)
        self._pool = Pool(self._engine, self._tensors, profiles, self._max_batch, contexts)
        self._memory = max(free - cuda.free_memory(), 0)

    def _deserialise(self) -> Any:
        engine = runtime(self._lean, self._path.parent).deserialize_cuda_engine(self._path.read_bytes())
        if engine is None:
            raise EngineError(f"{self._path}: TensorRT cannot deserialise it: {reason()}")
        return engine

    def _read_tensors(self) -> Tensors:
        trt, engine = module(), self._engine
        found: tuple[list[TensorSpec], list[TensorSpec]] = ([], [])
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            kind = engine.get_tensor_dtype(name).name
            if TENSORRT.get(kind) not in NUMPY:
                raise EngineError(f"{self._path}: tensor {name} is {kind}, which cannot be served")
            spec = TensorSpec(name, TENSORRT[kind], tuple(engine.get_tensor_shape(name)))
            found[0 if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else 1].append(spec)
        return Tensors(*found)

    def _read_profiles(self) -> list[Profile]:
        names = [spec.name for spec in self._tensors.inputs]
        found = []
        for index in range(self._engine.num_optimization_profiles):
            ranges = [self._engine.get_tensor_profile_shape(name, index) for name in names]
            least, best, most = (tuple(tuple(shapes[at]) for shapes in ranges) for at in range(3))
            found.append(Profile(index, least, best, most))
        return found

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Inputs in the plan's order."""
        return self._tensors.inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """Outputs in the plan's order."""
        return self._tensors.outputs

    @property
    def max_batch(self) -> int:
        """What was asked for, bounded by the widest optimisation profile."""
        return self._max_batch

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return runtime_name()

    @property
    def memory_bytes(self) -> int:
        """Device memory that loading took."""
        return self._memory

    @property
    def concurrency(self) -> int:
        """Two for each hot context: one batch is computed while the next is handed over."""
        return self._pool.size

    @cached_property
    def layers(self) -> Mapping[str, LayerInfo]:
        """What the engine inspector tells of each layer; nothing of a plan that another lean runtime runs.

        Asking such an engine raises, and leaves a reference behind that spoils the engine's destruction.
        """
        if self._lean is not None:
            return {}
        inspector = self._engine.create_engine_inspector()
        try:
            return parse(str(inspector.get_engine_information(module().LayerInformationFormat.JSON)))
        except ValueError:  # it says in words that there is nothing
            return {}

    def infer(self, *requests: Inputs) -> Execution:
        """Runs one batch; the time on the device is between events around the launch. Raises EngineError."""
        return self.begin(*requests).result()

    def begin(self, *requests: Inputs) -> Flight:
        """Hands one batch over, in a free slot. Raises EngineError."""
        self._enter()
        shapes = self._tensors.shapes(requests, self._max_batch)
        slot = self._pool.take(shapes)
        try:
            slot.start(requests, shapes)
        except BaseException:
            self._pool.give_back(slot)
            raise
        return _InSlot(self._pool, slot, self._device)

    def check(self, inputs: Inputs) -> Execution:
        """Runs on a context of its own where the plan gives one, else in a slot of its own. Raises EngineError."""
        self._enter()
        return self._pool.checker.run([inputs], self._tensors.shapes([inputs], self._max_batch))

    def profile(self, *requests: Inputs) -> Sequence[LayerTime]:
        """Times the layers on a context that serves nobody. Raises EngineError."""
        self._enter()
        shapes = self._tensors.shapes(requests, self._max_batch)
        self._profiler = self._profiler or self._new_profiler()
        slot, times = self._profiler
        # The first launch of a shape pays for it, so another is measured.
        for _ in range(1 if slot.has_run(shapes) else 2):
            slot.run(requests, shapes, graphs=False)
            times.clear()
            if not slot.context.trt.report_to_profiler():
                raise EngineError(f"TensorRT reports no layer times: {reason()}")
        return list(times)

    def _new_profiler(self) -> tuple[Slot, list[LayerTime]]:
        context = self._spare_context()
        try:
            slot = Slot(context, self._max_batch)
        except EngineError:
            context.close()
            raise
        profiler = context.trt.profiler = new_profiler()
        context.trt.enqueue_emits_profile = False
        return slot, profiler.times

    def _spare_context(self) -> Context:
        profile = self._pool.widest
        try:
            return Context(self._engine, self._tensors, profile, self._pool.next_number, urgent=False)
        except EngineError:
            # A plan of 8.6 may give each profile to one context only; then it is deserialised once more.
            return Context(self._deserialise(), self._tensors, profile, 0, urgent=False)

    def _enter(self) -> None:
        if self._closed:
            raise EngineError("the engine is closed")
        cuda.call("SetDevice", self._device)  # the calling thread may be a new one

    def close(self) -> None:
        """Frees contexts, buffers and engine. After a sticky CUDA error nothing can be freed; that is let go."""
        if self._closed:
            return
        self._closed = True
        if self._profiler is not None:
            slot, _ = self._profiler
            for part in (slot, slot.context):
                with suppress(EngineError):
                    part.close()
            self._profiler = None
        self._pool.close()
        self._engine = None
