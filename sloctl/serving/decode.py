"""A V2 inference request as it came in, checked against the model that shall answer it.

In two steps, so that a request can be refused before its arrays are parsed: `parse` reads the envelope,
`tensors` the inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from sloctl.engines.base import DeviceArray, Tensor, TensorSpec
from sloctl.serving.errors import RequestError, invalid
from sloctl.serving.parameters import Parameters, flag, whole
from sloctl.serving.regions import Place, Region
from sloctl.serving.registry import Regions
from sloctl.serving.tensors import DTYPES, from_bytes, from_json

_MICROSECOND = 1e-6


class Input(msgspec.Struct, gc=False):
    """One input of the envelope; `data` is unparsed JSON, absent where the tensor is binary.

    Another transport brings its data otherwise, in a class of its own.
    """

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: Parameters = None

    @property
    def inline(self) -> bool:
        """Whether the request itself holds its data."""
        return bool(self.data or whole(self.parameters, "binary_data_size"))

    def read(self, shape: tuple[int, ...], tail: memoryview) -> tuple[Tensor, memoryview]:
        """The tensor of its JSON, or else of the next bytes of the raw tensors, and what is left of these."""
        size = whole(self.parameters, "binary_data_size")
        if size is None:
            if not self.data:
                raise invalid("neither data nor binary_data_size is given")
            return from_json(self.data, self.datatype, shape), tail
        if self.data:
            raise invalid("both data and binary_data_size are given")
        if size > len(tail):
            raise invalid(f"binary_data_size is {size}, but {len(tail)} bytes are left in the body")
        return from_bytes(tail[:size], self.datatype, shape), tail[size:]


class Output(msgspec.Struct, gc=False):
    """One requested output."""

    name: str
    parameters: Parameters = None


class Envelope(msgspec.Struct, gc=False):
    """The JSON of a request."""

    inputs: list[Input]
    id: str = ""
    parameters: Parameters = None
    outputs: list[Output] | None = None


class _Asking(msgspec.Struct, gc=False):
    """As much of it as tells what is asked for beside the inference."""

    parameters: Parameters = None


_T = TypeVar("_T")
_ASKING = msgspec.json.Decoder(_Asking)
_ENVELOPE = msgspec.json.Decoder(Envelope)
_EMPTY = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which outputs a response holds, which of them as raw bytes, and which it leaves in shared memory."""

    names: tuple[str, ...]
    binary: frozenset[str] = frozenset()
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What a model takes and gives: what requests are checked against.

    Who asks for no outputs by name gets all of them, `as_json` or `in_binary`.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: tuple[str, ...]
    max_batch: int
    free: bool  # whether a dimension besides the batch is free, so that shapes can differ between requests
    on_gpu: bool = False  # whether inputs may lie in a GPU's memory
    as_json: Wanted = Wanted(())
    in_binary: Wanted = Wanted(())

    @classmethod
    def of(
        cls, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], max_batch: int, on_gpu: bool
    ) -> "ModelInputs":
        """From an engine's tensor specifications."""
        by_name = {spec.name: spec for spec in inputs}
        free = any(size < 0 for spec in inputs for size in spec.shape[1:])
        names = tuple(spec.name for spec in outputs)
        return cls(by_name, names, max_batch, free, on_gpu, Wanted(names), Wanted(names, frozenset(names)))


def parse(body: bytes, json_length: int | None) -> tuple[Envelope, memoryview]:
    """The envelope, and the raw tensors behind it. Raises RequestError.

    `json_length` is the Inference-Header-Content-Length, None where the whole body is JSON.
    """
    tail = _EMPTY
    if json_length is not None:
        if not 0 <= json_length <= len(body):
            raise invalid(f"Inference-Header-Content-Length is {json_length}, but the body has {len(body)} bytes")
        tail = memoryview(body)[json_length:]
        body = body[:json_length]
    return _decoded(_ENVELOPE, body), tail


def parse_parameters(body: bytes, json_length: int | None) -> Parameters:
    """The parameters of a request alone. Raises RequestError where it is not JSON, or they are wrong."""
    return _decoded(_ASKING, body if json_length is None else body[:json_length]).parameters


def _decoded(decoder: "msgspec.json.Decoder[_T]", body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(f"not an inference request: {error}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise invalid(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise invalid("the body is nested too deeply") from None


def timeout(parameters: Parameters, default: float) -> float:
    """Seconds within which the client wants its answer: `timeout` in µs, never above the model's deadline."""
    asked = whole(parameters, "timeout")
    return asked * _MICROSECOND if asked and asked < default / _MICROSECOND else default


def placed(parameters: Parameters, regions: Regions | None) -> Place | None:
    """Where in shared memory a tensor lies or shall lie; None where its parameters say nothing of that."""
    if not parameters or not ("shared_memory_region" in parameters or "shared_memory_byte_size" in parameters):
        return None
    if regions is None:
        raise shared_memory_is_off()
    return regions.place(parameters)


def lenders(envelope: Envelope, regions: Regions | None) -> tuple[Region, ...]:
    """The regions in which inputs lie, which their client owns."""
    found: tuple[Region, ...] = ()
    for given in envelope.inputs:
        if given.parameters and (place := placed(given.parameters, regions)) is not None:
            found = (*found, place.region)
    return found


def shared_memory_is_off() -> RequestError:
    """The refusal where the configuration does not allow it."""
    return RequestError(403, "shared memory is off: serving.sharedMemory is false, or serving.host is not loopback")


def wanted(envelope: Envelope, model: ModelInputs, regions: Regions | None) -> Wanted:
    """The outputs that a request asks for."""
    binary_default = flag(envelope.parameters, "binary_data_output", default=False)
    if not envelope.outputs:
        return model.in_binary if binary_default else model.as_json
    names, binary, places = [], set(), {}
    for output in envelope.outputs:
        if output.name not in model.outputs:
            raise invalid(f"no output {output.name!r}; the model has {', '.join(model.outputs)}")
        if output.name in names:
            raise invalid(f"output {output.name!r} is asked for twice")
        if whole(output.parameters, "classification"):
            raise RequestError(501, "the classification extension is not supported")
        names.append(output.name)
        place = placed(output.parameters, regions)
        if place is not None:
            places[output.name] = place
        elif flag(output.parameters, "binary_data", binary_default):
            binary.add(output.name)
    return Wanted(tuple(names), frozenset(binary), places)


def tensors(
    envelope: Envelope, tail: memoryview, model: ModelInputs, regions: Regions | None
) -> tuple[dict[str, Tensor | DeviceArray], int]:
    """The inputs by name, each of shape `[rows, …]`, and the rows. Raises RequestError."""
    found: dict[str, Tensor | DeviceArray] = {}
    rows = -1
    for given in envelope.inputs:
        spec = model.inputs.get(given.name)
        if spec is None:
            raise invalid(f"no input {given.name!r}; the model has {', '.join(model.inputs)}")
        if given.name in found:
            raise invalid(f"input {given.name!r} is given twice")
        shape = _shape(given, spec)
        if rows not in (-1, shape[0]):
            raise invalid(f"input {given.name!r} has {shape[0]} rows, another has {rows}")
        rows = shape[0]
        try:
            place = placed(given.parameters, regions)
            if place is None:
                found[given.name], tail = given.read(shape, tail)
            else:
                found[given.name] = _shared(given, shape, place, model)
        except RequestError as error:
            raise RequestError(error.status, f"input {given.name!r}: {error.message}") from None
    if len(found) != len(model.inputs):
        missing = ", ".join(name for name in model.inputs if name not in found)
        raise invalid(f"missing input: {missing}")
    if len(tail):
        raise invalid(f"{len(tail)} bytes follow the last binary tensor")
    if not 0 < rows <= model.max_batch:
        raise invalid(f"a request of {rows} rows; expected 1 to {model.max_batch}, the largest batch")
    return found, rows


def _shape(given: Input, spec: TensorSpec) -> tuple[int, ...]:
    if given.datatype != spec.datatype:
        expected = f"the model expects {spec.datatype}"
        known = "" if given.datatype in DTYPES else " (which is no V2 datatype)"
        raise invalid(f"input {given.name!r} has datatype {given.datatype!r}{known}; {expected}")
    shape = tuple(given.shape)
    if shape and shape[1:] == spec.shape[1:] and spec.shape[0] < 0 <= min(shape):  # the usual case, told quickly
        return shape
    fits = len(shape) == len(spec.shape)
    if not fits or any(size < 0 or wants not in (-1, size) for size, wants in zip(shape, spec.shape, strict=True)):
        raise invalid(f"input {given.name!r} has shape {given.shape}; the model expects {list(spec.shape)}")
    return shape


def _shared(given: Input, shape: tuple[int, ...], place: Place, model: ModelInputs) -> Tensor | DeviceArray:
    if given.inline:
        raise invalid("both data and shared memory are given")
    tensor = place.tensor(given.datatype, shape)
    if isinstance(tensor, DeviceArray) and not model.on_gpu:
        raise invalid(f"region {place.region.name!r} is CUDA shared memory, which a model on the CPU cannot read")
    return tensor
