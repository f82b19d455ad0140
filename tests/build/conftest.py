"""A small classifier, data sets for it, and Pythons that play TensorRT's builder."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, checker, helper, save
from typer.testing import CliRunner, Result

from sloctl.cli.main import app

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WEIGHTS = np.random.default_rng(7).normal(size=(4, 3)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """`y = x @ W`: x FP32 [batch, 4], scores y FP32 [batch, 3]."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="scores")],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("w", TensorProto.FLOAT, WEIGHTS.shape, WEIGHTS.tobytes(), raw=True)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(made)
    path = tmp_path / "model.onnx"
    save(made, str(path))
    return path


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(3).random((600, 4), dtype=np.float32) * 2 - 1


@pytest.fixture
def calibration(tmp_path: Path, samples: np.ndarray) -> Path:
    np.savez(tmp_path / "calibration.npz", x=samples[:500])
    return tmp_path / "calibration.npz"


@pytest.fixture
def evaluation(tmp_path: Path, samples: np.ndarray) -> Path:
    """A hundred samples on which the model is always right."""
    x = samples[500:]
    np.savez(tmp_path / "evaluation.npz", x=x, labels=(x @ WEIGHTS).argmax(axis=1))
    return tmp_path / "evaluation.npz"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


@pytest.fixture
def build(model: Path, repository: Path) -> Callable[..., Result]:
    """Runs `sloctl build` on the small model, quickly."""

    def run(*more: str) -> Result:
        where = ["--model", "m", "--repository", str(repository), "--measure-seconds", "0.01"]
        return CliRunner().invoke(app, ["build", str(model), *where, "--batch", "1/2/4", *more])

    return run


@pytest.fixture
def player(tmp_path: Path) -> Callable[[str], str]:
    """A program in a Python's place that runs a shell script on the request."""

    def make(script: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


@pytest.fixture
def old_tensorrt(player: Callable[[str], str]) -> str:
    """A Python with the fake TensorRT 8.6 and nothing else of ours."""
    return player(f'PYTHONPATH="{HERE / "fake"}" exec "{sys.executable}" "$@"')


@pytest.fixture(scope="session")
def rtx_python() -> str:
    """The Python of TensorRT-RTX's builder, installed when first needed; a failure to install it fails the test."""
    done = subprocess.run(
        [ROOT / "scripts" / "rtx-builder.sh"],
        check=False,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"TensorRT-RTX's builder cannot be installed: {done.stderr}"
    return done.stdout.strip()
