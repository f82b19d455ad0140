"""How busy the parts of a GPU are: GPM (Hopper and newer), from two samples some time apart."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sloctl.telemetry.catalogue import Metric
from sloctl_exporters import nvml_metrics as m
from sloctl_exporters.nvml_errors import UnsupportedError, is_unsupported
from sloctl_exporters.nvml_probes import Reading, Refuse

_LEAST_APART = 0.1  # seconds; NVML's documentation of nvmlGpmMetricsGet asks for 100 ms
_PERCENT, _MIB = 0.01, 1024.0**2


@dataclass(frozen=True, slots=True)
class Quantity:
    """A GPM metric of nvml.h by its number: what it fills, and what brings it to base units."""

    metric: Metric
    labels: tuple[str, ...]
    scale: float


_ENGINES = {1: "graphics", 2: "sm", 5: "tensor", 10: "dram", 4: "integer", 11: "fp64", 12: "fp32", 13: "fp16"}
OF_A_GPU: Mapping[int, Quantity] = {
    **{number: Quantity(m.ACTIVITY, (engine,), _PERCENT) for number, engine in _ENGINES.items()},
    3: Quantity(m.SM_OCCUPANCY, (), _PERCENT),
    20: Quantity(m.BUS_RATE, ("pcie", "tx"), _MIB),
    21: Quantity(m.BUS_RATE, ("pcie", "rx"), _MIB),
    60: Quantity(m.BUS_RATE, ("nvlink", "rx"), _MIB),
    61: Quantity(m.BUS_RATE, ("nvlink", "tx"), _MIB),
}


def of_an_instance(instance: str) -> Mapping[int, Quantity]:
    """What a MIG instance has of its own: its engines, not the buses."""
    return {n: Quantity(m.INSTANCE_ACTIVITY, (instance, engine), _PERCENT) for n, engine in _ENGINES.items()}


class ActivitySampler:
    """Takes a sample at each reading and tells what went on since the one before, so that it never waits.

    `take` fills a sample. The first reading tells nothing; one that comes too soon repeats the last.
    """

    def __init__(
        self, nvml: Any, take: Callable[[Any], Any], quantities: Mapping[int, Quantity], refuse: Refuse
    ) -> None:
        self._nvml = nvml
        self._take = take
        self._quantities = dict(quantities)
        self._refuse = refuse
        self._samples: list[Any] = []
        self._at = -math.inf  # when the newer sample was taken; -inf: there is none
        self._told: list[tuple[Metric, tuple[str, ...], float]] = []

    def read(self, now: float) -> Reading:
        """The values since the last reading; NVMLError where a call fails."""
        if now - self._at < _LEAST_APART:
            return self._told
        while len(self._samples) < 2:
            self._samples.append(self._nvml.nvmlGpmSampleAlloc())
        older, newer = self._samples
        had_one, self._at, self._told = math.isfinite(self._at), -math.inf, []
        self._take(older)  # the older is no longer wanted
        self._samples, self._at = [newer, older], now
        if had_one:
            self._told = self._between(newer, older)
        return self._told

    def close(self) -> None:
        """Gives the samples back."""
        while self._samples:
            self._nvml.nvmlGpmSampleFree(self._samples.pop())
        self._at = -math.inf

    def _between(self, first: Any, second: Any) -> list[tuple[Metric, tuple[str, ...], float]]:
        asked = list(self._quantities)
        wanted = self._nvml.c_nvmlGpmMetricsGet_t()
        wanted.version, wanted.numMetrics = self._nvml.NVML_GPM_METRICS_GET_VERSION, len(asked)
        wanted.sample1, wanted.sample2 = first, second
        for place, number in enumerate(asked):
            wanted.metrics[place].metricId = number
        self._nvml.nvmlGpmMetricsGet(wanted)
        found = []
        for number, answer in zip(asked, wanted.metrics, strict=False):  # the array is longer
            quantity = self._quantities[number]
            if answer.nvmlReturn != 0:
                self._failed(number, answer.nvmlReturn)
            elif not math.isnan(answer.value):
                found.append((quantity.metric, quantity.labels, answer.value * quantity.scale))
        return found

    def _failed(self, number: int, code: int) -> None:
        if is_unsupported(self._nvml, code):
            quantity = self._quantities.pop(number)
            self._refuse(f"activity {' '.join(quantity.labels)}", str(self._nvml.NVMLError(code)))


def check_support(nvml: Any, handle: Any) -> None:
    """Raises UnsupportedError where a GPU has no GPM, NVMLError where that cannot be told."""
    if not nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice:
        raise UnsupportedError("GPM is there from Hopper on")
