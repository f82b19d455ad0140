"""Requests of nearly the same shape made the same, so that they can share a batch. Pure.

Only the axes that the configuration names, since only who knows the model knows that zeros at an end change nothing.
The rows of a batch are padded elsewhere (`sizes`).
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np

from sloctl.config.daemon import ShapeBuckets
from sloctl.engines.base import DeviceArray, EngineError, Tensor, TensorSpec

Cuts = tuple[tuple[str, int, int], ...]
"""Outputs to cut back: name, axis and size."""


def check(buckets: Sequence[ShapeBuckets], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Whether a model has these axes, and they are free. Raises EngineError."""
    shapes = {spec.name: spec.shape for spec in inputs}
    results = {spec.name: spec.shape for spec in outputs}
    for each in buckets:
        _check_axis("input", each.input, each.axis, shapes)
        for name, axis in each.outputs.items():
            _check_axis("output", name, axis, results)


def _check_axis(kind: str, name: str, axis: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
    shape = shapes.get(name)
    if shape is None:
        raise EngineError(f"shapeBuckets: there is no {kind} {name!r}; the model has {', '.join(shapes)}")
    if axis >= len(shape) or shape[axis] >= 0:
        raise EngineError(f"shapeBuckets: axis {axis} of {kind} {name!r} is not free; its shape is {list(shape)}")


def fill(
    buckets: Sequence[ShapeBuckets], inputs: Mapping[str, Tensor | DeviceArray]
) -> tuple[dict[str, Tensor | DeviceArray], Cuts]:
    """The inputs with zeros up to the next bucket, and what to cut off the outputs.

    What is larger than all buckets stays as it is, and what lies in the memory of a GPU or holds BYTES.
    """
    filled, cuts = dict(inputs), []
    for each in buckets:
        value = filled[each.input]
        at = bisect_left(each.sizes, value.shape[each.axis])
        if isinstance(value, DeviceArray) or value.dtype.hasobject or at == len(each.sizes):
            continue
        cuts += [(name, axis, value.shape[each.axis]) for name, axis in each.outputs.items()]
        missing = each.sizes[at] - value.shape[each.axis]
        if missing:
            widths = [(0, missing if axis == each.axis else 0) for axis in range(value.ndim)]
            filled[each.input] = np.pad(value, widths)
    return filled, tuple(cuts)


def cut(outputs: Mapping[str, Tensor], cuts: Cuts) -> dict[str, Tensor]:
    """The outputs without what came of the zeros."""
    found = dict(outputs)
    for name, axis, size in cuts:
        found[name] = np.ascontiguousarray(found[name][(slice(None),) * axis + (slice(size),)])
    return found
