import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sloctl.serving.errors import RequestError
from sloctl.serving.tensors import DTYPES, as_it_lies, from_bytes, from_json, to_bytes, to_json

SHAPES = npst.array_shapes(min_dims=1, max_dims=3, max_side=4)
NUMBERS = sorted(set(DTYPES) - {"BYTES", "BF16"})


@st.composite
def tensors(draw, datatype: str):
    shape = draw(SHAPES)
    if datatype == "BYTES":
        array = np.empty(int(np.prod(shape)), np.object_)
        array[:] = [draw(st.text(max_size=5)).encode() for _ in range(array.size)]
        return array.reshape(shape)
    if datatype == "BF16":
        floats = draw(npst.arrays(np.float32, shape, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
        return (floats.view(np.uint32) >> 16).astype(np.uint16)
    dtype = DTYPES[datatype]
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    return draw(npst.arrays(dtype, shape, elements=npst.from_dtype(dtype, **finite)))


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())


@pytest.mark.parametrize("datatype", sorted(DTYPES))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_json_round_trip(datatype, data):
    array = data.draw(tensors(datatype))
    assert same(from_json(to_json(array, datatype), datatype, array.shape), array)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_binary_round_trip(datatype, data):
    array = data.draw(tensors(datatype))
    assert same(from_bytes(memoryview(to_bytes(array, datatype)), datatype, array.shape), array)


@pytest.mark.parametrize("datatype", NUMBERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_nested_json_reads_like_flat_json(datatype, data):
    array = data.draw(tensors(datatype))
    nested = json.dumps(array.tolist()).encode()
    assert same(from_json(nested, datatype, array.shape), array)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
@settings(max_examples=40, deadline=None)
@given(raw=st.binary(max_size=40), shape=SHAPES)
def test_any_bytes_give_a_tensor_or_the_clients_mistake(datatype, raw, shape):
    for read in (lambda: from_json(raw, datatype, shape), lambda: from_bytes(memoryview(raw), datatype, shape)):
        try:
            found = read()
        except RequestError as error:
            status = error.status
        else:
            status = 400
            assert found.shape == shape
        assert status == 400


@pytest.mark.parametrize(
    ("text", "datatype", "shape", "words"),
    [
        pytest.param("[1, 2, 3]", "FP32", (1, 4), "3 values do not fill shape", id="too few values"),
        pytest.param("[1, NaN]", "FP32", (1, 2), "malformed", id="NaN is no JSON"),
        pytest.param("[1, true]", "FP32", (1, 2), "got `bool`", id="a truth value is no number"),
        pytest.param('["1", "2"]', "FP32", (1, 2), "got `str`", id="a text is no number"),
        pytest.param("[1.5]", "INT32", (1,), "got `float`", id="a fraction is no integer"),
        pytest.param("[300]", "UINT8", (1,), "out of range", id="an integer beyond its type"),
        pytest.param("[-1]", "UINT64", (1,), "out of range", id="a negative number for an unsigned type"),
        pytest.param("[1e39]", "FP32", (1,), "3.4", id="a number beyond FP32"),
        pytest.param("[70000]", "FP16", (1,), "65520", id="a number beyond FP16"),
        pytest.param("[1e999]", "FP64", (1,), "out of range", id="a number beyond FP64"),
        pytest.param("[[1, 2], [3]]", "FP32", (2, 2), "unevenly", id="rows of different lengths"),
        pytest.param("[[1, 2, 3, 4]]", "FP32", (2, 2), "nested as", id="nested in another shape"),
        pytest.param("[null]", "FP32", (1,), "got `null`", id="null is no number"),
        pytest.param("7", "FP32", (1,), "Expected `array`", id="no array at all"),
        pytest.param("[" * 5000 + "]" * 5000, "FP32", (1, 1), "data", id="nested a thousand times"),
    ],
)
def test_refuses_bad_json_data(text, datatype, shape, words):
    with pytest.raises(RequestError, match=words):
        from_json(text.encode(), datatype, shape)


@pytest.mark.parametrize(
    ("raw", "datatype", "words"),
    [
        pytest.param(b"\0" * 7, "FP32", "whole number of FP32", id="half a float"),
        pytest.param(b"\2", "BOOL", "neither 0 nor 1", id="a truth value of two"),
        pytest.param(b"\x05\0\0\0ab", "BYTES", "longer than the data", id="a text that says it is longer"),
        pytest.param(b"\x05\0", "BYTES", "longer than the data", id="half a length"),
    ],
)
def test_refuses_bad_raw_data(raw, datatype, words):
    with pytest.raises(RequestError, match=words):
        from_bytes(memoryview(raw), datatype, (1,))


def test_infinity_and_nan_are_null_in_json():
    array = np.array([1.5, np.nan, np.inf], np.float32)
    assert json.loads(to_json(array, "FP32")) == [1.5, None, None]


def test_floats_have_no_more_digits_than_they_need():
    assert to_json(np.array([0.1], np.float32), "FP32") == b"[0.1]"


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name != "BYTES"])
def test_what_is_sent_as_it_lies_is_the_raw_form(datatype):
    array = np.arange(12).reshape(3, 4).astype(DTYPES[datatype])
    for each in (array, array[1:2], array[:, ::2], array.T, array[:0]):
        assert b"".join((b"head", as_it_lies(each, datatype))) == b"head" + to_bytes(each, datatype)


def test_strings_have_no_raw_form_that_lies_anywhere():
    strings = np.array([b"a", b"bc"], np.object_)
    assert bytes(as_it_lies(strings, "BYTES")) == to_bytes(strings, "BYTES")
