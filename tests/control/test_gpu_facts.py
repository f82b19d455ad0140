"""What policies see of the GPU, from the latest reading."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from sloctl.config.daemon import ModelConfig
from sloctl.control.facts import LiveFacts
from sloctl_exporters.nvml import GpuFacts

NOW = 1000.0
GPU = GpuFacts(
    memory_used=1.0,
    memory_total=2.0,
    temperature=61.0,
    utilization=0.99,
    power=691.649,
    throttled=False,
    clocks_event_reasons=frozenset({"sw_power_cap"}),
    xid_times=(NOW - 400, NOW - 61, NOW - 59, NOW - 1),
)


def facts(gpu: GpuFacts | None) -> LiveFacts:
    senses: Any = SimpleNamespace(gpu=gpu, recent=None)
    model = ModelConfig(name="m", variants=["fp32"])
    # The evaluator and what was received are not asked.
    return LiveFacts(model, senses, evaluator=None, received=None, now=NOW, wall=0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        ("gpu_clocks_event", "sw_power_cap", True),
        ("gpu_clocks_event", "hw_slowdown", False),
        ("gpu_xid_errors", "500ms", 0),
        ("gpu_xid_errors", "1m", 2),
        ("gpu_xid_errors", "1h", 4),
    ],
)
def test_reasons_and_xids(name: str, argument: str, value: float | bool) -> None:
    assert facts(GPU).get(name, (argument,)) == value


def test_without_a_gpu_nothing_holds_its_clocks_and_its_errors_are_unknown() -> None:
    assert facts(None).get("gpu_clocks_event", ("sw_power_cap",)) is False
    assert math.isnan(facts(None).get("gpu_xid_errors", ("1m",)))  # type: ignore[arg-type]
