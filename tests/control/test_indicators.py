"""Gauges as indicators: what a sample of them is worth. The counters of the board are tested with the daemon."""

from typing import Any

import numpy as np
import pytest

from sloctl.board.topology import ModelTopology, Topology
from sloctl.control.indicators import Indicators
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Indicator, Objective, QueryShare, Ratio, Raw, Selector, Threshold

TOPOLOGY = Topology((ModelTopology("m", ("a", "b")),), ("normal",), (0.1, 1.0), (0.1, 1.0))
NAN = float("nan")
RATIO, DRIFT, MEMORY = "sloctl_device_memory_ratio", "sloctl_layer_drift_ratio", "sloctl_process_memory_bytes"
ONE, TWO = (RATIO, ("gpu0",)), (RATIO, ("gpu1",))
DATA, CONTROL = (MEMORY, ("data",)), (MEMORY, ("control",))


def ratio_after(indicator: Indicator, samples: list[dict[Any, float]]) -> tuple[float, float]:
    """Good and total events after one sample a second, as an evaluator has them."""
    objective = Objective("x", "x", "x", indicator, 0.9, 3600)
    given = iter([*samples, {}])
    indicators = Indicators((objective,), TOPOLOGY, lambda: next(given))
    evaluator = Evaluator([objective], [])
    nothing: Any = None  # no board is read for gauges of the control plane
    evaluator.advance(0, np.array([0]), np.array([0]))
    for second in range(len(samples)):
        evaluator.advance(second + 1, *indicators.read(nothing, float(second)))
    return evaluator.counted("x")


@pytest.mark.parametrize(
    ("indicator", "samples", "good", "total"),
    [
        pytest.param(
            Threshold(Selector(RATIO), "lte", 0.85), [{ONE: 0.85}, {ONE: 0.86}, {ONE: NAN}, {}], 1, 2, id="a threshold"
        ),
        pytest.param(
            Threshold(Selector(RATIO), "lt", 0.9),
            [{ONE: 0.1, TWO: 0.95}, {ONE: 0.1, TWO: NAN}],
            1,
            2,
            id="every series",
        ),
        pytest.param(
            Threshold(Selector(RATIO, {"device": ("gpu0",)}), "lt", 0.9), [{ONE: 0.1, TWO: 1}], 1, 1, id="one series"
        ),
        pytest.param(Raw(Selector(RATIO)), [{ONE: 0.25, TWO: 0.5}, {ONE: NAN}, {}], 0.375, 1, id="the mean of shares"),
        pytest.param(Raw(Selector(RATIO), failure=True), [{ONE: 0.123456789}], 0.876543211, 1, id="a share of bad"),
        pytest.param(Raw(Selector(DRIFT)), [{(DRIFT, ("m", "a", "l")): 1.5}], 1, 1, id="no share is above one"),
        pytest.param(
            Ratio(Selector(MEMORY), good=Selector(MEMORY, {"plane": ("data",)}), sampled=True),
            [{DATA: 3, CONTROL: 1}, {DATA: 1, CONTROL: NAN}],
            4,
            5,
            id="gauges that count, added up",
        ),
        pytest.param(
            Ratio(Selector(MEMORY), bad=Selector(MEMORY, {"plane": ("data",)}), sampled=True),
            [{DATA: 3, CONTROL: 1}],
            1,
            4,
            id="gauges that count the bad",
        ),
    ],
)
def test_a_sample_is_worth_what_it_says(
    indicator: Indicator, samples: list[dict[Any, float]], good: float, total: float
) -> None:
    assert ratio_after(indicator, samples) == pytest.approx((good, total), abs=1e-9)


def test_a_gauge_is_sampled_once_a_second_however_often_the_tick_comes() -> None:
    objective = Objective("x", "x", "x", Threshold(Selector(RATIO), "lte", 1), 0.9, 3600)
    indicators = Indicators((objective,), TOPOLOGY, lambda: {ONE: 0.5})
    nothing: Any = None
    found = [int(indicators.read(nothing, quarter / 4)[1][0]) for quarter in range(12)]
    assert found == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


def test_queries_of_a_prometheus_are_not_counted_here() -> None:
    objective = Objective("x", "x", "x", QueryShare("up[{{.window}}]"), 0.9, 3600)
    nothing: Any = None
    assert [side.tolist() for side in Indicators((objective,), TOPOLOGY, dict).read(nothing, 0.0)] == [[0], [0]]
