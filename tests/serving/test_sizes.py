import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.engines.base import DeviceArray
from sloctl.engines.batch import joined, padded
from sloctl.serving.cost import Cost
from sloctl.serving.sizes import Sizes

AFFINE = {rows: 8.0 + rows for rows in (1, 2, 4, 8, 16)}


@pytest.mark.parametrize(
    ("measured", "more", "firsts"),
    [
        pytest.param(AFFINE, {}, range(17), id="where a second batch costs more, all are in one"),
        pytest.param({1: 1.0, 8: 8.0}, {}, range(9), id="where it makes no difference, too"),
        pytest.param(
            {1: 1.0, 4: 2.0, 8: 6.0}, {}, [0, 1, 2, 3, 4, 5, 4, 4, 4], id="a size with fewer seconds a row goes first"
        ),
        pytest.param(
            {1: 1.0, 4: 2.0, 8: 6.0}, {"preferred": [8]}, range(9), id="batches are cut to preferred sizes only"
        ),
        pytest.param(
            {1: 2.0, 8: 9.0, 16: 17.0},
            {"allowed": [1, 8, 16]},
            [0, 1, 1, 1, 1, 5, 6, 7, 8, 8, 8, 8, 12, 13, 14, 15, 16],
            id="up to what padding costs",
        ),
    ],
)
def test_a_batch_is_cut_where_the_table_says_that_two_are_done_sooner(measured, more, firsts):
    sizes = Sizes(Cost(measured), max(measured), **more)
    assert [sizes.first_of(rows) for rows in range(max(measured) + 1)] == list(firsts)


@pytest.mark.parametrize(
    ("measured", "allowed", "expected"),
    [
        pytest.param(AFFINE, (), [0, 1, 2, 3, 4, 5, 6, 7, 8], id="batches run as they are"),
        pytest.param(AFFINE, (8, 4), [0, 4, 4, 4, 4, 8, 8, 8, 8], id="or padded to the next allowed size"),
        pytest.param(AFFINE, (1, 4), [0, 1, 4, 4, 4, 5, 6, 7, 8], id="there may be none"),
        pytest.param(AFFINE, (32,), [0, 1, 2, 3, 4, 5, 6, 7, 8], id="one that the engine does not take is none"),
        pytest.param(
            {1: 1.0, 3: 3.0, 4: 2.0, 8: 4.0},
            (),
            [0, 1, 2, 4, 4, 5, 6, 7, 8],
            id="or where more rows are measured faster",
        ),
        pytest.param({1: 1.0, 2: 1.03, 4: 1.0}, (), [0, 1, 2, 3, 4], id="by more than chance"),
    ],
)
def test_pads(measured, allowed, expected):
    sizes = Sizes(Cost(measured), len(expected) - 1, allowed=allowed)
    assert [sizes.padded(rows) for rows in range(len(expected))] == expected
    assert all(sizes.predict(rows) == sizes.cost.predict(run) for rows, run in enumerate(expected))


@given(
    st.dictionaries(st.integers(1, 16), st.floats(0.1, 10.0), min_size=1),
    st.integers(1, 20),
    st.lists(st.integers(1, 20), max_size=4),
)
def test_parts_are_done_no_later_than_the_whole(measured, most, allowed):
    sizes = Sizes(Cost(measured), most, allowed=allowed)
    for rows in range(1, most + 1):
        assert sizes.padded(rows) >= rows
        assert 1 <= sizes.first_of(rows) <= rows
        left, seconds = rows, 0.0
        while left:
            seconds += sizes.predict(sizes.first_of(left))
            left -= sizes.first_of(left)
        assert seconds <= sizes.predict(rows) * (1 + 1e-9)


def test_a_batch_is_filled_up_with_its_first_row():
    requests = [{"x": np.array([[1.0, 2.0], [3.0, 4.0]])}, {"x": np.array([[5.0, 6.0]])}]
    assert joined(padded(requests, 2))["x"].tolist() == [[1, 2], [3, 4], [5, 6], [1, 2], [1, 2]]


def test_what_lies_in_the_memory_of_a_gpu_is_filled_up_there():
    array = DeviceArray(4096, (3, 5), np.dtype(np.float32), owner := object())
    assert padded([{"x": array}], 1)[1] == {"x": DeviceArray(4096, (1, 5), np.dtype(np.float32), owner)}
