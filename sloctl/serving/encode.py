"""V2 inference responses, put together from parts that are made once for each variant."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from sloctl.engines.base import Tensor, TensorSpec
from sloctl.serving.decode import Wanted
from sloctl.serving.regions import Place
from sloctl.serving.tensors import as_it_lies, to_json

Header = tuple[bytes, bytes]
_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")


@lru_cache(maxsize=4096)
def _dimensions(shape: tuple[int, ...]) -> bytes:
    return b",".join([b"%d" % size for size in shape])


def put(name: str, array: Tensor, datatype: str, place: Place) -> dict[str, Any]:
    """Writes an output to shared memory; returns the parameters that tell where it is. Raises RequestError."""
    size = place.put(name, array, datatype)
    where = {"shared_memory_region": place.region.name, "shared_memory_byte_size": size}
    return {**where, "shared_memory_offset": place.offset} if place.offset else where


class Encoder:
    """Writes the responses of one variant: its name in the parameters and in the header `sloctl-variant`.

    `datatypes` are those of its outputs by name.
    """

    def __init__(self, model: str, version: str, variant: str, outputs: Sequence[TensorSpec]) -> None:
        named = {"model_name": model, "model_version": version, "parameters": {"sloctl_variant": variant}}
        self._begin = orjson.dumps(named)[:-1]
        self.datatypes = {spec.name: spec.datatype for spec in outputs}
        self._heads = {
            spec.name: orjson.dumps({"name": spec.name, "datatype": spec.datatype})[:-1] + b',"shape":['
            for spec in outputs
        }
        self._headers = [_JSON, (b"sloctl-variant", variant.encode())]

    def encode(self, request_id: str, outputs: Mapping[str, Tensor], wanted: Wanted) -> tuple[list[Header], bytes]:
        """Headers (content length among them) and body. `outputs` are this request's rows.

        Raises RequestError where an output does not fit its place in shared memory.
        """
        parts, raw = [self._begin], []
        if request_id:
            parts += (b',"id":', orjson.dumps(request_id))
        separator = b',"outputs":['
        for name in wanted.names:
            array, datatype = outputs[name], self.datatypes[name]
            shape = _dimensions(array.shape)
            if name in wanted.places:
                said = orjson.dumps(put(name, array, datatype, wanted.places[name]))
                parts += (separator, self._heads[name], shape, b'],"parameters":', said, b"}")
            elif name in wanted.binary:
                data = as_it_lies(array, datatype)
                raw.append(data)
                parts += (separator, self._heads[name], shape, b'],"parameters":{"binary_data_size":%d}}' % data.nbytes)
            else:
                parts += (separator, self._heads[name], shape, b'],"data":', to_json(array, datatype), b"}")
            separator = b","
        parts.append(b"]}")
        body = b"".join(parts)
        headers = self._headers
        if raw:
            headers = [_BINARY, headers[1], (b"inference-header-content-length", b"%d" % len(body))]
            body = b"".join((body, *raw))
        return [*headers, (b"content-length", b"%d" % len(body))], body
