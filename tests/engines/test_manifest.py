from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.engines.base import EngineError, TensorSpec
from sloctl.engines.loading import load_engine
from sloctl.engines.manifest import (
    NAME,
    ManifestError,
    Probe,
    check_outputs,
    probe_of,
    read_manifest,
    sample_inputs,
    verify_file,
    write_manifest,
)


def test_what_was_written_is_what_is_read(variant: Path):
    manifest = read_manifest(variant)
    write_manifest(variant, manifest)
    assert read_manifest(variant) == manifest


def test_writing_leaves_only_the_manifest_behind(variant: Path):
    before = sorted(path.name for path in variant.iterdir())
    write_manifest(variant, read_manifest(variant))
    assert sorted(path.name for path in variant.iterdir()) == before == ["manifest.yaml", "model.onnx"]


def test_a_manifest_that_cannot_be_written_leaves_the_old_one_and_no_draft(variant: Path, monkeypatch):
    old = (variant / NAME).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_manifest(variant, read_manifest(variant))
    assert (variant / NAME).read_bytes() == old
    assert sorted(path.name for path in variant.iterdir()) == ["manifest.yaml", "model.onnx"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _escape(path: Path) -> None:
    outside = path.parents[3] / "outside.onnx"
    path.rename(outside)
    path.symlink_to(outside)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(_cut, "truncated", id="a truncated file is called truncated"),
        pytest.param(lambda path: path.write_bytes(b""), "empty", id="an empty file is called empty"),
        pytest.param(lambda path: path.write_bytes(b"x" * 9999), "another file", id="a longer file is another one"),
        pytest.param(_flip, "SHA-256", id="one flipped bit is found"),
        pytest.param(_escape, "out of the repository", id="a symbolic link may not lead out of the repository"),
        pytest.param(Path.unlink, "no such file", id="a missing file is named"),
    ],
)
def test_a_model_file_that_is_not_the_measured_one_is_refused(
    variant: Path, spoil: Callable[[Path], None], message: str
):
    manifest = read_manifest(variant)
    assert verify_file(variant, manifest) == variant / "model.onnx"
    spoil(variant / "model.onnx")
    with pytest.raises(ManifestError, match=message) as error:
        verify_file(variant, manifest)
    assert "model.onnx" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "not a valid manifest", id="an empty file"),
        pytest.param("a: [1, 2", "not a valid manifest", id="broken YAML"),
        pytest.param("[" * 5000, "not a valid manifest", id="endless nesting"),
        pytest.param("kind: Manifest\napiVersion: sloctl/v1\n", "Field required", id="missing fields"),
        pytest.param("!!python/object/apply:os.getcwd []", "not a valid manifest", id="a tag that would run code"),
    ],
)
def test_a_manifest_that_is_none_is_refused_with_its_path(tmp_path: Path, text: str, message: str):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(ManifestError, match=message) as error:
        read_manifest(tmp_path)
    assert str(tmp_path / NAME) in str(error.value)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/b", "..", "."])
def test_a_file_name_that_leaves_the_folder_is_refused(variant: Path, name: str):
    text = (variant / NAME).read_text().replace("file: model.onnx", f"file: {name}")
    (variant / NAME).write_text(text)
    with pytest.raises(ManifestError):
        verify_file(variant, read_manifest(variant))


def test_a_missing_manifest_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(ManifestError, match="sloctl import"):
        read_manifest(tmp_path)


@given(st.integers(0, 2**32), st.sampled_from(["FP32", "FP16", "FP64", "INT64", "UINT8", "BOOL"]), st.integers(1, 5))
def test_samples_are_deterministic_in_range_and_of_the_asked_shape(seed: int, datatype: str, batch: int):
    spec = TensorSpec("x", datatype, (-1, 3, -1))
    first, second = (sample_inputs([spec], seed, batch)["x"] for _ in range(2))
    assert first.shape == (batch, 3, 1)
    assert np.array_equal(first, second)
    assert ((first >= 0) & (first <= 1)).all()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        pytest.param([1.0, float("nan")], "not finite", id="NaN"),
        pytest.param([1.0, float("inf")], "not finite", id="infinity"),
        pytest.param([1.0, 2.0, 3.0], "3 values where the reference has 2", id="another shape"),
        pytest.param([1.0, 2.2], "off its reference", id="other values"),
    ],
)
def test_a_probe_says_what_differs(output: list[float], message: str):
    wanted = Probe(expected={"y": [1.0, 2.0]})
    check_outputs({"y": np.array([[1.0, 2.0]], np.float32)}, wanted)
    with pytest.raises(EngineError, match=message):
        check_outputs({"y": np.array([output], np.float32)}, wanted)


def test_of_a_large_output_the_reference_keeps_some_values_and_still_sees_what_differs():
    image = np.random.default_rng(0).random((1, 3, 300, 300), np.float32)
    probe = probe_of({"image": image, "label": np.array([3])}, seed=7)
    assert (len(probe.expected["label"]), probe.seed, list(probe.every)) == (1, 7, ["image"])
    assert len(probe.expected["image"]) <= 4096
    check_outputs({"image": image, "label": np.array([3])}, probe)
    for other in (image[:, :, :, ::-1], image[:, :, :100]):
        with pytest.raises(EngineError, match="image"):
            check_outputs({"image": other, "label": np.array([3])}, probe)


def test_a_probe_misses_an_output_that_is_gone():
    with pytest.raises(EngineError, match="y"):
        check_outputs({"z": np.zeros((1, 2), np.float32)}, Probe(expected={"y": [1.0, 2.0]}))


def test_a_variant_that_was_never_run_says_so_and_is_not_served(variant: Path):
    manifest = read_manifest(variant)
    missing = {"probe": None, "device_name": None, "memory_bytes": None, "latency_seconds": {}}
    write_manifest(variant, manifest.model_copy(update={**missing, "unmeasured": "there is no GPU"}))
    with pytest.raises(ManifestError, match=r"never run \(there is no GPU\); measure it here with `sloctl import"):
        load_engine(variant, device="cpu", threads=1, max_batch=1)


def test_a_manifest_without_a_probe_must_say_why(variant: Path):
    write_manifest(variant, read_manifest(variant).model_copy(update={"probe": None}))
    with pytest.raises(ManifestError, match="no word on why"):
        read_manifest(variant)
