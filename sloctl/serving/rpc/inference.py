"""Inference requests and responses between protobuf and the data plane."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sloctl.engines.base import Tensor
from sloctl.serving.decode import Envelope, Input, Output, Wanted
from sloctl.serving.encode import put
from sloctl.serving.errors import invalid
from sloctl.serving.parameters import Parameters
from sloctl.serving.rpc.messages import message
from sloctl.serving.tensors import DTYPES, from_bytes, to_bytes
from sloctl.serving.variant import VERSION, Variant

ModelInferResponse = message("ModelInferResponse")
_NOTHING = memoryview(b"")
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class RpcInput(Input, gc=False):
    """An input whose data is `raw`, as it lies in memory, or else in typed `contents`."""

    raw: bytes | None = None
    contents: Any = None

    @property
    def inline(self) -> bool:
        """Whether the request itself holds its data."""
        return self.raw is not None or self.contents is not None

    def read(self, shape: tuple[int, ...], tail: memoryview) -> tuple[Tensor, memoryview]:
        """The tensor; `tail` is left as it is."""
        if self.raw is not None:
            if self.contents is not None:
                raise invalid("both contents and raw_input_contents are given")
            return from_bytes(memoryview(self.raw), self.datatype, shape), tail
        if self.contents is None:
            raise invalid("neither contents nor raw_input_contents is given")
        return _typed(self.contents, self.datatype, shape), tail


class RpcCall:
    """An inference request and its response over gRPC; `request` is a ModelInferRequest."""

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request

    def read(self) -> tuple[Envelope, memoryview]:
        """The request; raw tensors lie in its inputs."""
        request = self._request
        raw = list(request.raw_input_contents)
        inputs: list[Input] = [_input(given, raw) for given in request.inputs]
        if raw:
            raise invalid(f"raw_input_contents has {len(raw)} more tensors than there are inputs outside shared memory")
        outputs = [Output(each.name, parameters(each.parameters)) for each in request.outputs] or None
        return Envelope(inputs, request.id, parameters(request.parameters), outputs), _NOTHING

    def answer(self, variant: Variant, request_id: str, outputs: Mapping[str, Tensor], wants: Wanted) -> Any:
        """A ModelInferResponse with raw tensors; of one in shared memory the raw tensor is empty, as clients expect."""
        response = ModelInferResponse(model_name=variant.model, model_version=VERSION, id=request_id)
        response.parameters["sloctl_variant"].string_param = variant.name
        raw = []
        for name in wants.names:
            array, datatype = outputs[name], variant.encoder.datatypes[name]
            told = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
            if name in wants.places:
                raw.append(b"")
                for key, value in put(name, array, datatype, wants.places[name]).items():
                    setattr(told.parameters[key], "int64_param" if isinstance(value, int) else "string_param", value)
            else:
                raw.append(to_bytes(array, datatype))
        response.raw_output_contents.extend(raw)
        return response


def parameters(given: Mapping[str, Any]) -> Parameters:
    """A map of InferParameter as plain values; None where it is empty."""
    if not given:
        return None
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param") for name, value in given.items()
    }


def _input(given: Any, raw: list[bytes]) -> RpcInput:
    """An input, with the next of the raw tensors unless its data is somewhere else."""
    told = parameters(given.parameters)
    typed = given.contents if given.HasField("contents") else None
    elsewhere = typed is not None or (told is not None and "shared_memory_region" in told)
    return RpcInput(
        given.name,
        list(given.shape),
        given.datatype,
        parameters=told,
        raw=raw.pop(0) if raw and not elsewhere else None,
        contents=typed,
    )


def _typed(contents: Any, datatype: str, shape: tuple[int, ...]) -> Tensor:
    field = _CONTENTS.get(datatype)
    if field is None:
        raise invalid(f"{datatype} has no typed contents; send it in raw_input_contents")
    values = getattr(contents, field)
    others = [each.name for each, _ in contents.ListFields() if each.name != field]
    if others:
        raise invalid(f"{datatype} belongs in {field}, not in {', '.join(others)}")
    try:
        if datatype == "BYTES":
            array: Tensor = np.empty(len(values), np.object_)
            array[:] = list(values)
        else:
            array = np.array(list(values), DTYPES[datatype])
    except OverflowError:
        raise invalid(f"a number is out of range for {datatype}") from None
    if array.size != int(np.prod(shape)):
        raise invalid(f"{array.size} values do not fill shape {list(shape)}")
    return array.reshape(shape)
