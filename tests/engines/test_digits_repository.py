"""The demo's repository, made once for real: about fifteen seconds."""

from pathlib import Path

import pytest

from sloctl.cli import _digits
from sloctl.cli._digits import evaluation, prepare
from sloctl.engines.loading import load_engine, probe
from sloctl.engines.measure import accuracy, predict

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits"


@pytest.mark.slow
def test_both_precisions_are_made_measured_and_kept(tmp_path: Path):
    said: list[str] = []
    prepare(tmp_path, EXAMPLE, said.append)
    assert said
    engines = {}
    for name in ("fp32", "int8"):
        engine, manifest = load_engine(tmp_path / "digits" / name, device="cpu", threads=1, max_batch=8)
        probe(engine, manifest)
        assert manifest.accuracy is not None
        assert manifest.accuracy.value > 0.98
        assert manifest.accuracy.samples == 500
        engines[name] = (engine, manifest)
    int8, manifest = engines["int8"]
    data = evaluation(EXAMPLE)
    assert accuracy(predict(int8, data), data, None).value == manifest.accuracy.value
    assert manifest.accuracy.agreement > 0.98

    said.clear()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    prepare(tmp_path, EXAMPLE, said.append)  # everything fits: nothing to do
    assert not said
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before

    (tmp_path / "digits" / "int8" / "model.onnx").write_bytes(b"spoilt")
    assert not _digits._fits(tmp_path, EXAMPLE)
