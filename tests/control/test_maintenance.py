"""What is left out of SLOs in the control plane: exact against a recount, in the trail, begun and ended by hand."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.board import Board, Boards, ModelTopology, Topology
from sloctl.control.judging import Judge
from sloctl.control.maintenance import ByHand, Exclusions
from sloctl.control.store import Store
from sloctl.slo.exclusions import Once
from sloctl.slo.objective import Objective, Ratio, Selector
from sloctl.telemetry.catalogue import REQUESTS

T = 1_700_000_000
BOTH = Selector("sloctl_requests_total")
GOOD = Selector("sloctl_requests_total", {"outcome": ("ok",)})
TOPOLOGY = Topology((ModelTopology("m", ("fp32",)),), ("normal",), (0.1,), (0.1,), 1)


def objective(name: str, *exclusions: Once) -> Objective:
    return Objective(name, "s", name, Ratio(BOTH, good=GOOD), 0.9, 3600.0, exclusions=exclusions)


SECONDS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60)
TIMES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=3)


@settings(max_examples=60)
@given(SECONDS, TIMES)
def test_what_happens_meanwhile_is_set_aside_and_all_else_counts(
    seconds: list[tuple[int, int]], times: list[tuple[int, int]]
) -> None:
    written = Board.create(TOPOLOGY)
    board = Boards([written])
    cells = {o: written.counter(REQUESTS, "m", "normal", o) for o in ("ok", "error")}
    own = tuple(Once(T + begin, T + begin + lasts) for begin, lasts in times)
    objectives = (objective("planned", *own), objective("always"))
    judge, exclusions = Judge(objectives, (), board, dict), Exclusions(objectives)
    judge.begin(board.snapshot(), 0.0, None)
    judge.tick(0.0, T, board.snapshot())
    counted = np.zeros(2, np.int64)
    for second, (good, bad) in enumerate(seconds, start=1):
        cells["ok"].inc(good)
        cells["error"].inc(bad)
        exclusions.look(T + second)
        judge.tick(second, T + second, board.snapshot(), exclusions.active)
        if not any(each.begin < T + second <= each.end for each in own):
            counted += (good, good + bad)
    everything = np.array([sum(g for g, _ in seconds), sum(g + b for g, b in seconds)])
    assert judge.evaluator.events("planned", 3600) == tuple(counted)
    assert judge.evaluator.events("always", 3600) == tuple(everything)
    assert judge.set_aside("planned") == tuple(everything - counted)


def test_each_beginning_and_each_end_is_told_once() -> None:
    exclusions = Exclusions([objective("a", Once(T, T + 60, "patch")), objective("b")])
    assert exclusions.look(T) == []
    assert exclusions.look(T + 1) == [("a", "patch", True)]
    assert exclusions.look(T + 2) == []
    assert exclusions.look(T + 61) == [("a", "patch", False)]


def test_by_hand_it_is_for_slos_by_pattern_and_ends_when_it_is_ended(tmp_path: Path) -> None:
    store = Store(tmp_path)
    number = store.begin_maintenance(T, ["a*"], T + 3600, "disk", "sre")
    exclusions = Exclusions([objective("api"), objective("shop")], store.maintenance(T))
    assert exclusions.look(T + 1) == [("api", "disk", True)]
    assert store.end_maintenance(number, T + 10)
    assert not store.end_maintenance(number, T + 11)
    exclusions.take(store.maintenance(T))
    assert exclusions.look(T + 12) == [("api", "disk", False)]
    assert exclusions.excludes("api", T + 5)  # what was left out stays out
    assert store.maintenance(T + 11) == []
    store.close()


def test_the_trail_is_kept_and_bounded(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(10_005):
        store.add_event(number, "maintenance", "a", "begin", "")
    assert [event["at"] for event in store.events("maintenance", 2)] == [10_004, 10_003]
    assert len(store.events("maintenance", 20_000)) == 10_000
    store.close()


def test_by_hand_knows_what_it_concerns() -> None:
    assert ByHand(1, ("a*", "shop"), 0, 1, "").concerns("api")
