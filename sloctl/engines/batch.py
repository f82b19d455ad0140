"""Joining the requests of a batch, for runtimes that want one array for each input."""

from collections.abc import Sequence

import numpy as np

from sloctl.engines.base import EngineError, Inputs, Tensor


def joined(requests: Sequence[Inputs]) -> dict[str, Tensor]:
    """The inputs of all requests, row after row. Raises EngineError where one lies in a GPU's memory."""
    if len(requests) == 1:
        return {name: _host(name, value) for name, value in requests[0].items()}
    return {name: np.concatenate([_host(name, each[name]) for each in requests]) for name in requests[0]}


def _host(name: str, value: object) -> Tensor:
    if not isinstance(value, np.ndarray):
        raise EngineError(f"input {name} lies in the memory of a GPU, which a model on the CPU cannot read")
    return value
