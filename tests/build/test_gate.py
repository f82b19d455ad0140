from pathlib import Path

import numpy as np
import pytest

from sloctl.build.gate import Reference, RefusedError, Standard, judge
from sloctl.engines.base import EngineError
from sloctl.engines.measure import Evaluation

LABELS = np.array([0, 1, 2, 1])
RIGHT = np.eye(3)[LABELS]
DATA = Evaluation("four", {"x": np.zeros((4, 2))}, LABELS)


def _gate(outputs: np.ndarray, reference: np.ndarray = RIGHT, **standard):
    return Standard(DATA, **standard).measure({"y": outputs}, Reference("fp32", {"y": reference}), "here")


def test_equal_outputs_are_equal_in_every_number():
    found = _gate(RIGHT)
    assert (found.value, found.reference_value, found.agreement) == (1, 1, 1)
    assert (found.max_absolute_error, found.mean_absolute_error, found.snr_db) == (0, 0, None)


def test_errors_are_told_by_size_and_in_decibels():
    found = _gate(RIGHT + 0.1)
    assert found.max_absolute_error == pytest.approx(0.1)
    assert found.mean_absolute_error == pytest.approx(0.1)
    assert found.snr_db == pytest.approx(10 * np.log10(4 / (12 * 0.01)))


def test_accuracy_and_agreement_are_apart():
    reference = np.eye(3)[[0, 1, 2, 2]]
    found = _gate(np.eye(3)[[0, 1, 0, 1]], reference)
    assert (found.value, found.reference_value, found.agreement) == (0.75, 0.75, 0.5)


def test_the_first_output_of_the_reference_counts_whatever_the_variants_order():
    standard, other = Standard(DATA), np.zeros((4, 3))
    found = standard.measure({"z": other, "y": RIGHT}, Reference("r", {"y": RIGHT, "z": other}), "here")
    assert found.value == 1


@pytest.mark.parametrize(
    ("right", "standard", "message"),
    [
        (3, {"floor": 0.75}, None),
        (3, {"floor": 0.76}, "top-1 0.7500 .* below the floor of 0.76"),
        (3, {"max_drop": 0.25}, None),
        (3, {"max_drop": 0.2}, "0.2500 below the reference, more than 0.2"),
        (4, {"floor": 1.0, "max_drop": 0.0}, None),
    ],
)
def test_a_variant_passes_at_its_floor_and_not_below(right: int, standard: dict, message: str | None):
    labels = [label if i < right else (label + 1) % 3 for i, label in enumerate(LABELS)]
    found = _gate(np.eye(3)[labels], **standard)
    if message is None:
        judge(found)
        return
    with pytest.raises(RefusedError, match=message):
        judge(found)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused_by_their_share(value: float):
    outputs = RIGHT.copy()
    outputs[0, 0] = value
    with pytest.raises(RefusedError, match=r"8\.33% of the outputs are not finite"):
        _gate(outputs)


@pytest.mark.parametrize("outputs", [{"z": RIGHT}, {"y": RIGHT[:2]}], ids=["another name", "another size"])
def test_outputs_that_cannot_be_compared_are_an_error(outputs: dict):
    with pytest.raises(EngineError):
        Standard(DATA).measure(outputs, Reference("fp32", {"y": RIGHT}), "here")


def test_a_metric_of_the_users_own_sees_outputs_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_metric.py").write_text(
        "def recall_of_one(outputs, data):\n"
        "    ones = data['labels'] == 1\n"
        "    return (outputs['y'].argmax(axis=1)[ones] == 1).mean()\n"
        "def percent(outputs, data):\n    return 99.0\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _gate(np.eye(3)[[2, 1, 2, 2]], metric="own_metric:recall_of_one").value == 0.5
    with pytest.raises(EngineError, match=r"percent gave 99\.0; expected a number from 0 to 1"):
        _gate(RIGHT, metric="own_metric:percent")
    for name in ("own_metric:missing", "no_such_module:f", "own_metric:number"):
        with pytest.raises(EngineError, match=f"metric {name}"):
            _gate(RIGHT, metric=name)
