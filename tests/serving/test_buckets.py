import asyncio
import json
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.board import LevelState
from sloctl.config.daemon import ModelConfig, ShapeBuckets
from sloctl.engines.base import DeviceArray, TensorSpec
from sloctl.serving.buckets import cut, fill

SIZES = [4, 8]
X = TensorSpec("x", "FP32", (-1, -1))
Y = TensorSpec("y", "FP32", (-1, -1))
BUCKETS = [{"input": "x", "axis": 1, "sizes": SIZES, "outputs": {"y": 1}}]


@given(st.integers(1, 3), st.integers(0, 12), st.integers(1, 2))
def test_what_is_filled_up_and_cut_back_is_as_it_was(rows, size, axis):
    shape = (rows, size, 2) if axis == 1 else (rows, 2, size)
    value = np.arange(1, rows * size * 2 + 1, dtype=np.float32).reshape(shape)
    bucket = ShapeBuckets(input="x", axis=axis, sizes=SIZES, outputs={"y": axis})
    filled, cuts = fill([bucket], {"x": value, "other": value})
    assert filled["other"] is value
    assert filled["x"].shape[axis] == min((each for each in SIZES if each >= size), default=size)
    assert filled["x"].sum() == value.sum(), "zeros came to it"
    assert (cut({"y": filled["x"]}, cuts)["y"] == value).all()


def test_what_cannot_be_filled_up_stays_as_it_is():
    bucket = ShapeBuckets(input="x", axis=1, sizes=SIZES, outputs={"y": 1})
    for value in (DeviceArray(4096, (1, 3), np.dtype(np.float32)), np.array([[b"a", b"b"]], np.object_)):
        assert fill([bucket], {"x": value}) == ({"x": value}, ())


def configured(**changes):
    return ModelConfig(name="m", variants=["a"], shapeBuckets=[{**BUCKETS[0], **changes}])


@pytest.mark.parametrize("sizes", [[], [8, 4], [4, 4], [0]])
def test_sizes_that_make_no_sense_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes"):
        configured(sizes=sizes)


async def ask(bench, *values):
    body = {"inputs": [{"name": "x", "shape": [1, len(values)], "datatype": "FP32", "data": values}]}
    response = await bench.call("POST", "/v2/models/m/infer", json.dumps(body).encode())
    output = json.loads(response.body)["outputs"][0]
    return output["shape"], output["data"]


async def test_requests_of_nearly_the_same_shape_share_a_batch_and_get_what_is_theirs(make):
    bench = make(shapeBuckets=BUCKETS)
    for engine in bench.engines.values():
        engine.inputs, engine.outputs = (X,), (Y,)
    await bench.load()
    engine = bench.engines["fp32"]
    engine.batches.clear()
    answers = await asyncio.gather(ask(bench, 1, 2), ask(bench, 3, 4, 5, 6), ask(bench, *range(5)), ask(bench, 7))
    assert answers == [([1, 2], [2, 4]), ([1, 4], [6, 8, 10, 12]), ([1, 5], [0, 2, 4, 6, 8]), ([1, 1], [14])]
    assert sorted(engine.batches) == [1, 3]


async def test_a_request_that_cannot_be_filled_up_gives_its_permit_back(make, monkeypatch):
    bench = make(shapeBuckets=BUCKETS)
    for engine in bench.engines.values():
        engine.inputs, engine.outputs = (X,), (Y,)
    await bench.load()
    monkeypatch.setattr("sloctl.serving.dataplane.fill", Mock(side_effect=MemoryError))
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    assert (await bench.call("POST", "/v2/models/m/infer", json.dumps(body).encode())).status == 500
    assert bench.model._guard.breaker.calls.ignored == 1
    assert bench.model.inflight == 0


@pytest.mark.parametrize(
    ("bucket", "says"),
    [
        pytest.param({"input": "z"}, "no input 'z'; the model has x", id="an input that is not there"),
        pytest.param({"axis": 2}, "axis 2 of input 'x' is not free", id="an axis that is not there"),
        pytest.param({"outputs": {"z": 1}}, "no output 'z'", id="an output that is not there"),
        pytest.param({"outputs": {"y": 2}}, "axis 2 of output 'y' is not free", id="an axis of an output"),
    ],
)
async def test_buckets_that_do_not_fit_the_model_take_it_down_with_the_reason(make, bucket, says):
    bench = make(shapeBuckets=[{**BUCKETS[0], **bucket}])
    for engine in bench.engines.values():
        engine.inputs, engine.outputs = (X,), (Y,)
    await bench.load()
    level = bench.board.health("m", "fp32", "model").read()
    assert level.state is LevelState.FAILING
    assert says in level.message
    assert bench.engines["fp32"].closed


async def test_inputs_are_told_apart_by_name_and_not_by_their_order(make):
    bench = make()
    two = (X, TensorSpec("z", "FP32", (-1, -1)))
    for engine in bench.engines.values():
        engine.inputs, engine.outputs = two, (Y,)
    await bench.load()

    def body(**sizes):
        inputs = [{"name": n, "shape": [1, size], "datatype": "FP32", "data": [1] * size} for n, size in sizes.items()]
        return bench.call("POST", "/v2/models/m/infer", json.dumps({"inputs": inputs}).encode())

    answers = await asyncio.gather(body(x=2, z=3), body(z=2, x=3), body(z=3, x=2))
    assert [response.status for response in answers] == [200] * 3
