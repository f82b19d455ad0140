from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sloctl.build.advice import WORTH, advise, memory, points
from sloctl.build.curve import draw
from sloctl.cli.main import app
from sloctl.engines.manifest import Manifest, Probe, TensorEntry, write_manifest

MIB = 1 << 20


def _manifest(table: dict[int, float], *, tail: float = 1.0, memory: int = 100 * MIB, size: int = 20 * MIB) -> Manifest:
    entry = TensorEntry(name="x", datatype="FP32", shape=[-1, 4])
    return Manifest(
        file="model.plan", sha256="0" * 64, size=size, precision="fp16", runtime="tensorrt", runtime_version="10",
        device_name="a GPU", device_memory_bytes=200 * MIB, inputs=[entry], outputs=[entry], max_batch=max(table),
        memory_bytes=memory, latency_seconds=table, latency_p99_seconds={b: t * tail for b, t in table.items()},
        latency_runs=dict.fromkeys(table, 100), probe=Probe(expected={}),
    )  # fmt: skip


# Batch 1 in 2 ms, and 1 ms more for each further row.
LINEAR = {b: (1 + b) * 1e-3 for b in (1, 2, 4, 8, 16)}

tables = st.dictionaries(st.integers(1, 256), st.floats(1e-5, 1.0), min_size=1)


@pytest.mark.parametrize(
    ("objective", "best"), [(1.0, 16), (0.034, 16), (0.033, 8), (0.0039, None), (0.004, 1)],
)  # fmt: skip
def test_a_request_may_take_twice_a_batch(objective: float, best: int | None):
    found = advise("fp16", _manifest(LINEAR), objective=objective, budget=None).best
    assert (found and found.batch) == best


def test_the_tail_and_the_wait_for_a_batch_count():
    assert advise("v", _manifest(LINEAR, tail=2.0), objective=0.034, budget=None).best.batch == 4
    assert advise("v", _manifest(LINEAR), objective=0.034, budget=None, wait=0.001).best.batch == 8


def test_memory_grows_with_the_batch_above_the_weights():
    manifest = _manifest(LINEAR)
    assert memory(manifest, 16) == 100 * MIB
    assert memory(manifest, 8) == 60 * MIB
    assert advise("v", manifest, objective=1, budget=60 * MIB).best.batch == 8
    assert advise("v", manifest, objective=1, budget=10 * MIB).best is None


def test_a_larger_batch_must_bring_more_than_noise():
    flat = {1: 10e-3, 2: 19.8e-3, 4: 39.2e-3}
    assert advise("v", _manifest(flat), objective=1, budget=None).best.batch == 1


@given(tables, st.floats(1e-5, 3.0), st.integers(MIB, 200 * MIB))
def test_the_best_fits_and_nothing_that_fits_is_worth_more(table: dict[int, float], objective: float, budget: int):
    found = advise("v", _manifest(table), objective=objective, budget=budget)
    fitting = [point for point in found.points if point.latency <= objective and point.memory <= budget]
    assert (found.best is None) == (not fitting)
    if found.best:
        assert found.best in fitting
        assert found.best.throughput >= (1 - WORTH) * max(point.throughput for point in fitting)


@given(tables, st.floats(1e-5, 3.0))
def test_the_picture_is_well_formed_and_keeps_every_point_inside(table: dict[int, float], objective: float):
    advice = advise("a <b> & c", _manifest(table), objective=objective, budget=None)
    root = ElementTree.fromstring(draw("t <&>", [advice], objective))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == len(points(_manifest(table)))
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height


def _advise(repository: Path, *more: str):
    return CliRunner().invoke(app, ["advise", "m", "--repository", str(repository), *more])


@pytest.fixture
def measured(repository: Path) -> Path:
    for name, factor in (("fp16", 1.0), ("int8", 0.5)):
        folder = repository / "m" / name
        folder.mkdir(parents=True)
        write_manifest(folder, _manifest({b: t * factor for b, t in LINEAR.items()}))
    return repository


def test_the_command_advises_for_every_variant_and_draws(measured: Path, tmp_path: Path):
    result = _advise(measured, "--objective", "20ms", "--svg", str(tmp_path / "out.svg"))
    assert result.exit_code == 0, result.output
    assert "fp16: maxBatch 8" in result.stdout
    assert "int8: maxBatch 16" in result.stdout
    assert "fp16: batch 8" in (tmp_path / "out.svg").read_text()


def test_memory_is_a_share_of_the_device_or_a_size(measured: Path):
    assert "fp16: maxBatch 8" in _advise(measured, "--objective", "1s", "--memory", "30%").stdout
    assert "fp16: maxBatch 4" in _advise(measured, "--objective", "1s", "--memory", "45MiB").stdout


def test_an_objective_that_nothing_meets_is_a_status_of_its_own(measured: Path):
    result = _advise(measured, "--objective", "3ms")
    assert result.exit_code == 3
    assert "fp16: no measured batch size stays within 3.00 ms" in result.stdout


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--objective", "20"], "expected a duration"),
        (["--objective", "0s"], "more than nothing"),
        (["--objective", "1s", "--memory", "lots"], "a share such as 70%"),
    ],
)
def test_wrong_words_are_told(measured: Path, more: list[str], message: str):
    result = _advise(measured, *more)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_repository_without_measurements_says_so(repository: Path):
    result = _advise(repository, "--objective", "1s")
    assert result.exit_code == 1
    assert "no measured variant" in result.stderr
