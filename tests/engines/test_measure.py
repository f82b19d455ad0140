import io
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sloctl.engines.base import EngineError, Execution, TensorSpec
from sloctl.engines.measure import Evaluation, accuracy, latencies, latency_table, predict
from sloctl.engines.onnx import OnnxEngine


class Clocked:
    """An engine whose batch takes a second a row, on a clock that only it moves."""

    inputs = (TensorSpec("x", "FP32", (-1, 4)),)
    outputs = (TensorSpec("y", "FP32", (-1, 3)),)

    def __init__(self, max_batch: int) -> None:
        self.max_batch = max_batch
        self.now = 0.0
        self.sizes: list[int] = []

    def infer(self, inputs: Mapping[str, np.ndarray]) -> Execution:
        rows = len(inputs["x"])
        self.sizes.append(rows)
        self.now += rows
        return Execution({"y": inputs["x"][:, :3]}, float(rows), 0.0)


def test_latencies_are_medians_by_powers_of_two():
    engine = Clocked(max_batch=6)
    assert latencies(engine, budget=1.0, clock=lambda: engine.now) == {1: 1.0, 2: 2.0, 4: 4.0}


def test_a_slow_engine_is_measured_by_few_runs_a_fast_one_within_its_budget():
    slow = Clocked(max_batch=1)
    latencies(slow, budget=0.5, clock=lambda: slow.now)
    assert len(slow.sizes) == 1 + 3  # one run to warm up
    fast = Clocked(max_batch=1)
    latencies(fast, budget=60, clock=lambda: fast.now)
    assert len(fast.sizes) == 1 + 60


def test_what_disturbs_the_machine_for_a_while_does_not_fall_on_one_batch_size_alone():
    engine = Clocked(max_batch=4)
    table = latency_table(engine, [1, 2, 4], budget=90, clock=lambda: engine.now)
    turns = [size for size, _ in groupby(engine.sizes)]
    assert turns == [1, 2, 4] * 4  # to warm up, and three turns
    assert {size: found.p50 for size, found in table.items()} == {1: 1, 2: 2, 4: 4}


def test_the_99th_percentile_is_the_slowest_of_few_runs_and_not_of_many():
    engine = Clocked(max_batch=1)
    slow = iter([0, 9, *[0] * 400])

    def infer(inputs: Mapping[str, np.ndarray]) -> Execution:
        engine.now += 1 + next(slow)
        return Execution({}, 1.0, 0.0)

    engine.infer = infer
    few = latency_table(engine, [1], budget=0, clock=lambda: engine.now)[1]
    assert (few.runs, few.p50, few.p99) == (3, 1, 10)
    slow = iter([0, 9, *[0] * 400])
    many = latency_table(engine, [1], budget=600, clock=lambda: engine.now)[1]
    assert (many.runs, many.p99) == (210, 1)


def test_accuracy_and_agreement_are_shares_of_the_samples():
    data = Evaluation("four", {}, np.array([0, 1, 2, 0]))
    found = accuracy(np.array([0, 1, 1, 1]), data, np.array([0, 1, 1, 0]))
    assert (found.value, found.agreement, found.samples, found.data) == (0.5, 0.75, 4, "four")
    assert accuracy(np.array([0, 1, 2, 0]), data, None).agreement is None


@pytest.mark.parametrize("max_batch", [1, 3, 64])
def test_predictions_do_not_depend_on_how_the_set_is_cut_into_batches(
    affine: Path, weights: np.ndarray, max_batch: int
):
    x = np.random.default_rng(1).random((10, 4), dtype=np.float32)
    engine = OnnxEngine(affine, max_batch=max_batch)
    found = predict(engine, Evaluation("ten", {"x": x}, np.zeros(10, int)))
    np.testing.assert_array_equal(found, (x @ weights).argmax(axis=1))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param({"x": np.zeros((2, 4))}, "no array named labels; it has x", id="no labels"),
        pytest.param({"x": np.array([{}], object), "labels": np.zeros(1)}, "plain arrays", id="pickled objects"),
    ],
)
def test_an_evaluation_file_that_cannot_be_used_is_refused(tmp_path: Path, arrays: dict, message: str):
    path = tmp_path / "eval.npz"
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(EngineError, match=message):
        Evaluation.read(path)


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path):
    path = tmp_path / "eval.npz"
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for data in (b"", b"not a zip archive", b"PK\x03\x04 cut off", array.getvalue()):
        path.write_bytes(data)
        with pytest.raises(EngineError, match=r"eval\.npz"):
            Evaluation.read(path)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        pytest.param({"z": np.zeros((2, 4), np.float32)}, 2, "no array named x", id="an input is missing"),
        pytest.param({"x": np.zeros((3, 4), np.float32)}, 2, "3 rows.*2 labels", id="rows and labels differ"),
        pytest.param({"x": np.zeros((0, 4), np.float32)}, 0, "no samples", id="it is empty"),
    ],
)
def test_an_evaluation_that_does_not_fit_the_model_is_refused(affine: Path, inputs: dict, labels: int, message: str):
    with pytest.raises(EngineError, match=message):
        predict(OnnxEngine(affine), Evaluation("set", inputs, np.zeros(labels, int)))


def test_a_model_whose_outputs_are_no_classes_says_so():
    engine = SimpleNamespace(inputs=Clocked.inputs, outputs=(TensorSpec("y", "FP32", (-1,)),), max_batch=4)
    with pytest.raises(EngineError, match="scores by class"):
        predict(engine, Evaluation("set", {"x": np.zeros((2, 4), np.float32)}, np.zeros(2, int)))
