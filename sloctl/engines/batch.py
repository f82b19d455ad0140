"""Joining the requests of a batch, for runtimes that want one array for each input, and filling it up."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sloctl.engines.base import DeviceArray, EngineError, Inputs, Tensor


def joined(requests: Sequence[Inputs]) -> dict[str, Tensor]:
    """The inputs of all requests, row after row. Raises EngineError where one lies in a GPU's memory."""
    if len(requests) == 1:
        return {name: _host(name, value) for name, value in requests[0].items()}
    return {name: np.concatenate([_host(name, each[name]) for each in requests]) for name in requests[0]}


def padded(requests: Sequence[Inputs], rows: int) -> list[Inputs]:
    """The requests, and so many rows more: the first row again and again, which is sure to be a valid one."""
    first = {name: _first_row(value) for name, value in requests[0].items()}
    return [*requests, *[first] * rows]


def _first_row(value: Tensor | DeviceArray) -> Tensor | DeviceArray:
    return replace(value, shape=(1, *value.shape[1:])) if isinstance(value, DeviceArray) else value[:1]


def _host(name: str, value: object) -> Tensor:
    if not isinstance(value, np.ndarray):
        raise EngineError(f"input {name} lies in the memory of a GPU, which a model on the CPU cannot read")
    return value
