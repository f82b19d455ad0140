"""The accuracy gate: a variant's outputs on a data set against those of a reference, held against a floor."""

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np

from sloctl.engines.base import EngineError, Tensor
from sloctl.engines.manifest import Gate
from sloctl.engines.measure import Evaluation, top1

Outputs = Mapping[str, Tensor]
Metric = Callable[[Outputs, Mapping[str, Tensor]], float]
"""Outputs by name, and the data set's arrays (`labels` among them), to a number in 0..1; higher is better."""


class RefusedError(Exception):
    """The variant does not pass; the message holds the numbers."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What variants are compared with: outputs on the data set and who gave them."""

    name: str
    outputs: Outputs


@dataclass(frozen=True, slots=True)
class Standard:
    """The data set, the metric and its floors: an absolute one, and the largest drop below the reference."""

    data: Evaluation
    metric: str = "top-1"
    floor: float | None = None
    max_drop: float | None = None

    def measure(self, outputs: Outputs, reference: Reference, ran_on: str) -> Gate:
        """All numbers of a comparison. Raises RefusedError for outputs that are not finite, EngineError for others."""
        if set(outputs) != set(reference.outputs):
            raise EngineError(f"outputs {', '.join(outputs)} are not the reference's {', '.join(reference.outputs)}")
        outputs = {name: outputs[name] for name in reference.outputs}  # in one order, since the first one counts
        error = _difference(outputs, reference.outputs)
        function = load_metric(self.metric)
        arrays = {**self.data.inputs, "labels": self.data.labels}
        return Gate(
            metric=self.metric,
            data=self.data.name,
            samples=len(self.data.labels),
            reference=reference.name,
            value=_share(self.metric, function(outputs, arrays)),
            reference_value=_share(self.metric, function(reference.outputs, arrays)),
            floor=self.floor,
            max_drop=self.max_drop,
            agreement=_agreement(outputs, reference.outputs),
            max_absolute_error=error.largest,
            mean_absolute_error=error.mean,
            snr_db=error.snr_db,
            ran_on=ran_on,
        )


def judge(gate: Gate) -> None:
    """Raises RefusedError where a floor is not held."""
    if gate.floor is not None and gate.value < gate.floor:
        raise RefusedError(f"{describe(gate)}: below the floor of {gate.floor:g}")
    drop = gate.reference_value - gate.value
    if gate.max_drop is not None and drop > gate.max_drop:
        raise RefusedError(f"{describe(gate)}: {drop:.4f} below the reference, more than {gate.max_drop:g}")


def describe(gate: Gate) -> str:
    """The numbers in a line."""
    agreement = "" if gate.agreement is None else f", agreement {gate.agreement:.4f}"
    against = f"(reference {gate.reference_value:.4f}) on {gate.samples} samples of {gate.data}"
    noise = "equal" if gate.snr_db is None else f"SNR {gate.snr_db:.1f} dB"
    return (
        f"{gate.metric} {gate.value:.4f} {against}{agreement}, largest error {gate.max_absolute_error:.3g}, "
        f"mean {gate.mean_absolute_error:.3g}, {noise}"
    )


def load_metric(name: str) -> Metric:
    """`top-1`, or the callable `module:function`, from the working directory too. Raises EngineError."""
    if name == "top-1":
        return _top1
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # the operator's own code may raise anything
        raise EngineError(f"metric {name}: {error}") from error
    if not callable(found):
        raise EngineError(f"metric {name} is no function")
    metric: Metric = found
    return metric


def _top1(outputs: Outputs, data: Mapping[str, Tensor]) -> float:
    return float((top1(_first(outputs)) == data["labels"]).mean())


def _first(outputs: Outputs) -> Tensor:
    return next(iter(outputs.values()))


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise EngineError(f"metric {name} gave {value!r}; expected a number from 0 to 1, higher for better")
    return float(value)


def _agreement(outputs: Outputs, reference: Outputs) -> float | None:
    ours, theirs = _first(outputs), _first(reference)
    return float((top1(ours) == top1(theirs)).mean()) if ours.ndim >= 2 else None


@dataclass(frozen=True, slots=True)
class _Difference:
    largest: float
    mean: float
    snr_db: float | None


def _difference(outputs: Outputs, reference: Outputs) -> _Difference:
    """Over all values of all outputs; SNR = 10·log10(Σ reference² / Σ error²), None for equal ones."""
    ours, theirs = (
        np.concatenate([each[name].ravel().astype(np.float64) for name in reference]) for each in (outputs, reference)
    )
    if ours.size != theirs.size:
        raise EngineError(f"{ours.size} output values cannot be compared with the reference's {theirs.size}")
    if not np.isfinite(ours).all():
        raise RefusedError(f"{(~np.isfinite(ours)).mean():.2%} of the outputs are not finite")
    error = np.abs(ours - theirs)
    signal, noise = float((theirs**2).sum()), float((error**2).sum())
    snr = 10 * log10(signal / noise) if noise and signal else None
    return _Difference(float(error.max()), float(error.mean()), snr)
