"""ONNX Runtime on the CPU: the embedded default."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort

from sloctl.engines.base import EngineError, Execution, Flight, Inputs, Landed, LayerInfo, LayerTime, Tensor, TensorSpec
from sloctl.engines.batch import joined
from sloctl.engines.datatypes import ONNX
from sloctl.engines.onnx_profiler import ProfilerProcess

_QUIET = 4  # nothing short of fatal: errors come as exceptions
_UNBOUNDED = 1 << 20


class OnnxEngine:
    """A session on the CPU provider. Layer times come from a helper process, never from this session."""

    def __init__(self, path: Path, *, threads: int = 1, max_batch: int = _UNBOUNDED) -> None:
        """Loads the file and prepares a session. Raises EngineError."""
        self._path = path
        try:
            session = ort.InferenceSession(path.read_bytes(), options(threads), ["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from None
        self._run: Callable[..., list[Tensor]] = session.run
        self._inputs = [_spec(argument) for argument in session.get_inputs()]
        self._outputs = [_spec(argument) for argument in session.get_outputs()]
        self._names = [spec.name for spec in self._outputs]
        self._max_batch = max_batch
        self._profiler: ProfilerProcess | None = None
        self._memory = path.stat().st_size

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Inputs in the model's order."""
        return self._inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """Outputs in the model's order."""
        return self._outputs

    @property
    def max_batch(self) -> int:
        """The largest batch: what it was created with, or 1 where the model fixes its batch."""
        fixed = self._inputs[0].shape[0] if self._inputs and self._inputs[0].shape else -1
        return fixed if fixed > 0 else self._max_batch

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""
        return f"onnxruntime {ort.__version__}"

    @property
    def memory_bytes(self) -> int:
        """Size of the weights; ONNX Runtime does not say what else it takes."""
        return self._memory

    @property
    def concurrency(self) -> int:
        """One batch at a time: a second would only share the same cores."""
        return 1

    @property
    def layers(self) -> Mapping[str, LayerInfo]:
        """Nothing: ONNX Runtime's layers are the model's own nodes, or fusions named after them."""
        return {}

    def infer(self, *requests: Inputs) -> Execution:
        """Runs one batch on the calling thread. Raises EngineError."""
        begin = perf_counter()
        feed = joined(requests)
        start = perf_counter()
        try:
            values = self._run(self._names, feed)
        except Exception as error:
            raise EngineError(str(error).splitlines()[0]) from None
        end = perf_counter()
        return Execution(dict(zip(self._names, values, strict=True)), end - start, start - begin)

    def begin(self, *requests: Inputs) -> Flight:
        """Runs it: this runtime computes in the call. Raises EngineError."""
        return Landed(self.infer(*requests))

    def check(self, inputs: Inputs) -> Execution:
        """Runs beside the others; a session takes calls from several threads. Raises EngineError."""
        return self.infer(inputs)

    def profile(self, *requests: Inputs) -> Sequence[LayerTime]:
        """Times the layers in a helper process of the lowest priority. Raises EngineError."""
        if self._run is _closed:
            raise EngineError("the engine is closed")
        if self._profiler is None:
            self._profiler = ProfilerProcess(self._path)
        return self._profiler.profile({name: np.ascontiguousarray(value) for name, value in joined(requests).items()})

    def close(self) -> None:
        """Ends the helper process and lets the session go."""
        self._run = _closed
        if self._profiler is not None:
            self._profiler.close()
            self._profiler = None


def options(threads: int) -> ort.SessionOptions:
    """Session options: so many threads (0: one a core) that leave the processor to others while they wait."""
    made = ort.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.log_severity_level = _QUIET
    made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def _closed(*_: object) -> list[Tensor]:
    raise EngineError("the engine is closed")


def _spec(argument: ort.NodeArg) -> TensorSpec:
    if argument.type not in ONNX:
        raise EngineError(f"tensor {argument.name} is {argument.type}, which the protocol cannot carry")
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in argument.shape)
    return TensorSpec(argument.name, ONNX[argument.type], shape)
