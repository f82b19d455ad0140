"""V2 datatypes: how each is held in memory, written as JSON and laid out as raw bytes.

Raw tensors are little-endian and row-major; BYTES elements are each preceded by their length in 4 bytes
(https://github.com/kserve/open-inference-protocol, binary tensor data extension). numpy has no bfloat16, so
BF16 is carried as the upper halves of floats in uint16.
"""

from functools import lru_cache
from types import GenericAlias
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from sloctl.engines.base import Tensor
from sloctl.engines.datatypes import NUMPY
from sloctl.serving.errors import invalid

_LENGTH_BYTES = 4
DTYPES: dict[str, np.dtype[Any]] = {**NUMPY, "BF16": np.dtype(np.uint16), "BYTES": np.dtype(np.object_)}
# Numbers from here on would round to infinity: half a step above the largest finite one (BF16: a bit less, since
# it is rounded twice).
_TOO_LARGE = {"FP16": 65520.0, "BF16": 3.39e38, "FP32": 3.4028235677973366e38}


def _element(datatype: str) -> Any:
    """The JSON type of one element; numbers that the datatype cannot hold are refused, never made infinite."""
    if datatype == "BOOL":
        return bool
    if datatype == "BYTES":
        return str
    if datatype == "FP64":
        return float
    bound = _TOO_LARGE.get(datatype)
    return int if bound is None else Annotated[float, msgspec.Meta(gt=-bound, lt=bound)]


@lru_cache(maxsize=256)
def _decoder(datatype: str, depth: int) -> "msgspec.json.Decoder[Any]":
    kind = _element(datatype)
    for _ in range(depth):
        kind = GenericAlias(list, (kind,))  # list[kind], which a type checker takes for an annotation
    return msgspec.json.Decoder(kind)


# Most requests are flat lists of numbers that fit: these are read without looking twice.
_PLAIN = {name: (_decoder(name, 1).decode, DTYPES[name]) for name in DTYPES if name not in ("BF16", "BYTES")}


def _depth(data: memoryview, most: int) -> int:
    """How many brackets open a JSON array, at most `most`."""
    depth = 0
    for byte in data[:256]:
        if byte == 0x5B:  # [
            depth += 1
        elif byte not in b" \t\r\n":
            break
    return min(depth, most)


def from_json(data: bytes | msgspec.Raw, datatype: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor in a JSON array, flat or nested as `shape` is. Raises RequestError."""
    plain = _PLAIN.get(datatype)
    if plain is not None:
        try:
            return np.array(plain[0](data), plain[1]).reshape(shape)
        except (msgspec.MsgspecError, ValueError, OverflowError):
            pass  # nested or wrong: what follows tells which
    depth = _depth(memoryview(data), len(shape)) or 1
    try:
        values = _decoder(datatype, depth).decode(data)
        array = _array(values, datatype)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise invalid(f"{error} in the data of a {datatype} tensor") from None
    except OverflowError:
        raise invalid(f"a number is out of range for {datatype}") from None
    except ValueError:
        raise invalid("data is nested unevenly") from None
    if depth > 1 and array.shape != shape:
        raise invalid(f"data is nested as {list(array.shape)}, but shape says {list(shape)}")
    return _shaped(array, shape)


def _array(values: list[Any], datatype: str) -> Tensor:
    if datatype == "BF16":
        return _to_bf16(np.array(values, np.float32))
    if datatype == "BYTES":
        array = np.array(values, np.object_)
        flat = np.empty(array.size, np.object_)
        flat[:] = [str(text).encode() for text in array.ravel()]
        return flat.reshape(array.shape)
    return np.array(values, DTYPES[datatype])


def _shaped(array: Tensor, shape: tuple[int, ...]) -> Tensor:
    try:
        return array.reshape(shape)
    except ValueError:
        raise invalid(f"{array.size} values do not fill shape {list(shape)}") from None


def from_bytes(data: memoryview, datatype: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor in raw bytes, without copying where that can be. Raises RequestError."""
    if datatype == "BYTES":
        return _shaped(_split(data), shape)
    dtype = DTYPES[datatype]
    if len(data) % dtype.itemsize:
        raise invalid(f"{len(data)} bytes are not a whole number of {datatype} values")
    array: Tensor = np.frombuffer(data, dtype)
    if datatype == "BOOL" and np.any(array.view(np.uint8) > 1):
        raise invalid("a BOOL byte is neither 0 nor 1")
    return _shaped(array, shape)


def _split(data: memoryview) -> Tensor:
    found, at = [], 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or end > len(data):
            raise invalid("a BYTES element is longer than the data")
        found.append(bytes(data[start:end]))
        at = end
    array = np.empty(len(found), np.object_)
    array[:] = found
    return array


def to_json(array: Tensor, datatype: str) -> bytes:
    """A flat JSON array; shortest digits that read back the same, null for NaN and infinity."""
    flat = array.ravel()
    if datatype == "BYTES":
        return orjson.dumps([_text(item) for item in flat])
    if datatype == "BF16":
        flat = _from_bf16(flat.astype(np.uint16))
    return orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)


def to_bytes(array: Tensor, datatype: str) -> bytes:
    """The raw form."""
    if datatype != "BYTES":
        return array.tobytes()
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
    return b"".join(part for item in items for part in (len(item).to_bytes(_LENGTH_BYTES, "little"), item))


def as_it_lies(array: Tensor, datatype: str) -> memoryview:
    """The raw form without copying, where that can be."""
    if datatype == "BYTES" or not array.flags.c_contiguous:
        return memoryview(to_bytes(array, datatype))
    return array.data


def _text(item: object) -> str:
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


def _to_bf16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = array.view(np.uint32).astype(np.uint64)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)  # to nearest, ties to even
    return (rounded >> 16).astype(np.uint16)


def _from_bf16(array: NDArray[Any]) -> NDArray[np.float32]:
    return (array.astype(np.uint32) << 16).view(np.float32)
