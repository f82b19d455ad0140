import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sloctl.engines import onnx_profiler
from sloctl.engines.base import EngineError
from sloctl.engines.onnx import OnnxEngine

SAMPLE = {"x": np.ones((2, 4), np.float32)}


def _helper(engine: OnnxEngine) -> subprocess.Popen[bytes]:
    assert engine._profiler is not None
    process = engine._profiler._process
    assert process is not None
    return process


def test_layers_come_in_execution_order_with_their_times(affine: Path):
    engine = OnnxEngine(affine)
    try:
        layers = engine.profile(SAMPLE)
        assert [layer.name for layer in layers] == ["product", "rectified"]
        assert all(layer.seconds >= 0 for layer in layers)
    finally:
        engine.close()


def test_the_helper_is_kept_for_the_next_profile_and_is_of_the_lowest_priority(affine: Path):
    engine = OnnxEngine(affine)
    try:
        engine.profile(SAMPLE)
        helper = _helper(engine)
        assert os.getpriority(os.PRIO_PROCESS, helper.pid) == 19
        engine.profile(SAMPLE)
        assert _helper(engine) is helper
    finally:
        engine.close()
    assert helper.returncode is not None


def test_a_wrong_sample_is_an_error_and_the_next_profile_works(affine: Path):
    engine = OnnxEngine(affine)
    try:
        with pytest.raises(EngineError, match="no layer profile"):
            engine.profile({"x": np.ones((2, 9), np.float32)})
        assert engine.profile(SAMPLE)
    finally:
        engine.close()


def test_a_helper_that_was_killed_is_started_again(affine: Path):
    engine = OnnxEngine(affine)
    try:
        engine.profile(SAMPLE)
        _helper(engine).kill()
        _helper(engine).wait()
        assert engine.profile(SAMPLE)
    finally:
        engine.close()


def test_a_helper_that_does_not_answer_is_given_up(affine: Path, monkeypatch):
    engine = OnnxEngine(affine)
    engine.profile(SAMPLE)
    helper = _helper(engine)
    helper.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(onnx_profiler, "_PATIENCE", 0.05)
    try:
        with pytest.raises(EngineError, match="did not answer within"):
            # More than a pipe holds: writing it must not block for ever either.
            engine.profile({"x": np.ones((100_000, 4), np.float32)})
        assert helper.wait(10) is not None
    finally:
        engine.close()


def test_the_helper_ends_with_its_standard_input(affine: Path):
    command = [sys.executable, "-m", "sloctl.engines.onnx_profiler", str(affine)]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_nothing_is_left_in_the_temporary_folder(affine: Path, tmp_path: Path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    engine = OnnxEngine(affine)
    try:
        engine.profile(SAMPLE)
    finally:
        engine.close()
    assert list(scratch.iterdir()) == []
