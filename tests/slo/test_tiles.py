"""What a Prometheus is asked for, and what its answers count as."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.slo.objective import Indicator, Objective, QueryRatio, QueryShare, QueryThreshold, Slices
from sloctl.slo.tiles import Coverage, Events, TooManyError, expressions, tiled, until

RATIO = QueryRatio("sum(increase(all[{{.window}}]))", bad="sum(increase(bad[{{.window}}]))")
M = 10**6
T = 1_700_000_040  # a multiple of 60


def objective(indicator: Indicator = RATIO, slices: Slices | None = None) -> Objective:
    return Objective("s", "s", "s", indicator, 0.99, 86400.0, slices=slices)


def test_a_tile_is_asked_for_as_a_recording_rule_would_record_it() -> None:
    good, total = expressions(objective(), 60)
    assert total == "sum(sum(increase(all[1m])))"
    assert "sum(increase(bad[1m]))" in good


@pytest.mark.parametrize(
    ("good", "total", "expected"),
    [
        pytest.param({T: 9.5}, {T: 10.0}, Events((T,), (9_500_000,), (10 * M,)), id="increases are not whole"),
        pytest.param({T: 11.0}, {T: 10.0}, Events((T,), (10 * M,), (10 * M,)), id="never more good than all"),
        pytest.param({T: -1.0}, {T: 10.0}, Events((T,), (0,), (10 * M,)), id="never fewer than none"),
        pytest.param({T: 0.0}, {T: 0.0}, Events((T,), (0,), (0,)), id="silence is a tile without events"),
        pytest.param({}, {T: 10.0}, Events(), id="without good ones nothing is known"),
        pytest.param({T: 1.0}, {}, Events(), id="nor without all of them"),
        pytest.param({T: math.nan}, {T: 1.0}, Events(), id="what is no number is no tile"),
        pytest.param({T: 1.0}, {T: -1.0}, Events(), id="nor fewer than no events"),
    ],
)
def test_answers_as_events(good: dict[int, float], total: dict[int, float], expected: Events) -> None:
    assert tiled(objective(), good, total, 1440) == expected


def test_shares_and_samples_count_as_one_event() -> None:
    share = objective(QueryShare("q[{{.window}}]"))
    assert tiled(share, {T: 0.25}, {T: 1.0}, 1440) == Events((T,), (share.unit // 4,), (share.unit,))
    sample = objective(QueryThreshold("q", "lte", 0.85))
    assert tiled(sample, {T: 3.0}, {T: 4.0}, 1440) == Events((T,), (3,), (4,))


def test_what_64_bits_cannot_hold_is_refused_and_what_they_hold_is_exact() -> None:
    tiles = 30 * 1440
    bytes_ = 6e10  # a gigabyte a second
    with pytest.raises(TooManyError, match="both queries divided by"):
        tiled(objective(), {T: bytes_}, {T: bytes_}, tiles)
    with pytest.raises(TooManyError):
        tiled(objective(), {T: 1.0}, {T: 1e300}, 1)
    most = 2**62 / M / tiles
    found = tiled(objective(), {T: most}, {T: most}, tiles)
    assert sum(found.total * tiles) < 2**63


@pytest.mark.parametrize(("target", "good"), [(0.9, (1, 0)), (None, (10**12, 8 * 10**11))])
def test_time_slices_are_judged_from_their_tiles(target: float | None, good: tuple[int, int]) -> None:
    sliced = objective(slices=Slices(120, target))
    tiles = {T + 20 + 60 * n: 10.0 for n in range(4)}  # 1_700_000_060 is no bound of two minutes
    fine = dict(zip(tiles, (10.0, 10.0, 10.0, 6.0), strict=True))
    ends = tuple(sorted({math.ceil(end / 120) * 120 for end in tiles}))
    found = tiled(sliced, fine, tiles, 1440)
    assert found.times == ends
    assert found.good == good


class Prometheus:
    """Has the tiles whose ends are in `known`."""

    def __init__(self) -> None:
        self.known: set[int] = set()

    def last(self, after: int, upto: int) -> int | None:
        return max((end for end in self.known if after < end <= upto), default=None)


@given(st.data())
def test_everything_within_reach_is_asked_for_once_and_what_came_late_is_asked_for_again(data: st.DataObject) -> None:
    """Whatever the order and the gaps, at the end each tile that was there when it settled has been taken once."""
    span, late = 60, 420.0  # seconds; a tile is there 360 s after its end at the latest, with the pauses and lags below
    coverage, prometheus = Coverage(span, 3600.0, late), Prometheus()
    taken: list[int] = []
    now = float(T)
    prometheus.known.update(range(T - 7200, T + 1, span))
    for _ in range(data.draw(st.integers(1, 30))):
        stretch = coverage.wanted(now, most=data.draw(st.integers(1, 40)))
        if stretch is not None and data.draw(st.integers(0, 4)):  # now and then it does not answer
            after, upto = stretch
            end = coverage.cover(after, upto, prometheus.last(after, upto), now)
            taken += [tile for tile in prometheus.known if after < tile <= end]
        now += data.draw(st.sampled_from([1, 15, 60, 240]))
        come = data.draw(st.integers(0, 2))  # samples come in late, or in time
        prometheus.known.update(range(T, int(now) - 60 * come, span))
    for _ in range(200):  # until nothing is left but the newest, should that be late
        stretch = coverage.wanted(now)
        if stretch is not None:
            end = coverage.cover(*stretch, prometheus.last(*stretch), now)
            taken += [tile for tile in prometheus.known if stretch[0] < tile <= end]
    assert len(taken) == len(set(taken))
    assert coverage.high is not None
    wanted = {tile for tile in prometheus.known if now - 3600 < tile <= coverage.high}
    assert wanted <= set(taken)


def test_after_a_gap_longer_than_its_reach_it_begins_anew() -> None:
    coverage = Coverage(60, 3600.0, 300.0, low=T - 3600, high=T)
    assert coverage.wanted(T + 7200) == (T + 7200 - 3600, T + 7200)


def test_events_up_to_a_time() -> None:
    assert until(Events((1, 2, 3), (1, 1, 1), (2, 2, 2)), 2) == Events((1, 2), (1, 1), (2, 2))
