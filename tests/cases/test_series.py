"""Series in promtool's notation, and what SLOs count in them."""

import math

import pytest

from sloctl.cases.counting import Counter, NotCountedError
from sloctl.cases.series import expanded, selector_of
from sloctl.slo.objective import SHARE_PARTS, Indicator, Objective, QueryShare, Ratio, Raw, Selector, Threshold

NAN = math.nan


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2 3", [1, 2, 3]),
        ("0+10x3", [0, 10, 20, 30]),
        ("5-1x2", [5, 4, 3]),
        ("7x2", [7, 7, 7]),
        ("_ 1 _x2 stale", [NAN, 1, NAN, NAN, NAN]),
        ("1e2 -0.5", [100, -0.5]),
    ],
)
def test_samples_as_promtool_expands_them(text: str, values: list[float]) -> None:
    assert [None if math.isnan(v) else v for v in expanded(text, 100)] == [None if math.isnan(v) else v for v in values]


def test_names_and_labels() -> None:
    assert selector_of('a_total{b="c", d="e \\"f\\"",}') == ("a_total", {"b": "c", "d": 'e "f"'})
    assert selector_of("a") == ("a", {})


A, B = Selector("a_total"), Selector("b_total", {"outcome": ("bad",)})


@pytest.mark.parametrize(
    ("indicator", "series", "counts"),
    [
        pytest.param(
            Ratio(A, bad=B),
            {"a_total": "5 15 25", 'b_total{outcome="bad"}': "0 1 3", 'b_total{outcome="ok"}': "0 9 9"},
            [(0, 0), (9, 10), (17, 20)],
            id="the first sample is the base, and other series do not count",
        ),
        pytest.param(
            Ratio(A, good=A), {"a_total": "5 15 2 4"}, [(0, 0), (10, 10), (12, 12), (14, 14)], id="a restart counts on"
        ),
        pytest.param(Ratio(A, good=A), {"a_total": "5 _ 15"}, [(0, 0), (0, 0), (10, 10)], id="a gap is bridged"),
        pytest.param(
            Threshold(Selector("sloctl_queue_length"), "lte", 8),
            {"sloctl_queue_length": "1 9 1", 'sloctl_queue_length{model="m"}': "1 1 1"},
            [(0, 0), (60, 60), (60, 120)],
            id="a gauge is held from one sample to the next, and every series must keep the threshold",
        ),
        pytest.param(
            Threshold(Selector("d_seconds"), "gt", 0.25),
            {'d_seconds_bucket{le="0.25"}': "0 8", "d_seconds_count": "0 10"},
            [(0, 0), (2, 10)],
            id="buckets",
        ),
        pytest.param(
            Raw(Selector("r"), failure=True),
            {"r": "0.25 1"},
            [(0, 0), (45 * SHARE_PARTS, 60 * SHARE_PARTS)],
            id="a share of bad",
        ),
    ],
)
def test_what_is_counted(indicator: Indicator, series: dict[str, str], counts: list[tuple[int, int]]) -> None:
    table = {name: (selector_of(name), expanded(values, 100)) for name, values in series.items()}
    counter = Counter(Objective("s", "s", "s", indicator, 0.9, 86400.0), table, 60.0)
    assert [counter.step(index) for index in range(len(counts))] == counts


def test_queries_are_not_counted_here() -> None:
    with pytest.raises(NotCountedError, match="only promtool"):
        Counter(Objective("s", "s", "s", QueryShare("up"), 0.9, 86400.0), {}, 60.0)
