import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.engines.base import EngineError
from sloctl.serving.memory import MARGIN, Need, headroom, require

SIZES = st.integers(0, 1 << 40)


def test_without_a_measured_figure_the_file_stands_for_it():
    assert Need.of(1000, 10) == Need(1000, "its manifest")
    assert Need.of(None, 10).size == 30
    assert Need.of(0, 10).size == 30, "what a driver did not see is not nothing"


@given(SIZES, SIZES, st.dictionaries(st.sampled_from(["fp32", "int8"]), SIZES), st.none() | SIZES)
def test_what_fits_leaves_the_margin_free_and_stays_in_the_budget(size, free, taken, budget):
    fits = size + MARGIN <= free and (budget is None or sum(taken.values()) + size + MARGIN <= budget)
    assert fits == (size <= headroom(free, taken, budget))
    if fits:
        assert "needs" in require(Need(size, "test"), free, taken, budget)
    else:
        with pytest.raises(EngineError, match="does not fit: needs"):
            require(Need(size, "test"), free, taken, budget)


def test_the_message_holds_the_whole_sum():
    with pytest.raises(EngineError) as told:
        require(Need(120 << 20, "its manifest"), 2 << 30, {"fp32": 900 << 20}, 1 << 30)
    assert str(told.value) == (
        "does not fit: needs 120 MiB (its manifest) + 64 MiB margin; budget 1 GiB, taken 900 MiB by fp32; "
        "2 GiB of the device are free; raise memoryBudget, or lower maxBatch or contexts"
    )
