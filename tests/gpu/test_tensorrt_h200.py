"""Real plans on a real GPU: `SLOCTL_TEST_PLANS=FOLDER pytest -m gpu tests/gpu`."""

import importlib.util
import os
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sloctl.engines.base import EngineError
from sloctl.engines.loading import check_device, load_engine, probe
from sloctl.engines.manifest import read_manifest, sample_inputs, write_manifest
from sloctl.engines.tensorrt_runtime import module

pytestmark = pytest.mark.gpu

PRECISIONS = ("fp32", "tf32", "fp16", "int8")


@pytest.fixture(scope="module")
def smoke() -> ModuleType:
    try:
        check_device("cuda:0")
        module()
    except (EngineError, RuntimeError) as error:
        pytest.skip(str(error))
    spec = importlib.util.spec_from_file_location("gpu_smoke", Path(__file__).with_name("smoke.py"))
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def repository(smoke: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits model in every precision whose plan is there."""
    plans = Path(os.environ.get("SLOCTL_TEST_PLANS", ""))
    root = tmp_path_factory.mktemp("repository")
    for name in PRECISIONS:
        plan = plans / f"digits_resnet.{name}.plan"
        if plan.is_file():
            smoke.imported(plan, root / "digits" / name, "cuda:0")
    if not any(root.iterdir()):
        pytest.skip("set SLOCTL_TEST_PLANS to a folder with digits_resnet.fp32.plan and others")
    return root


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_plan_answers_as_it_was_measured(repository: Path, smoke: ModuleType, precision: str):
    folder = repository / "digits" / precision
    if not folder.exists():
        pytest.skip(f"no {precision} plan")
    row = smoke.measured(folder, "cuda:0")
    assert row["accuracy"] > 0.98
    assert row["layers"] > 10
    assert row["profile"] == pytest.approx(row["gpu 64"], rel=0.5)


def test_profiles_run_beside_inference_and_disturb_nothing(repository: Path):
    folder = next((repository / "digits").iterdir())
    engine, _ = load_engine(folder, device="cuda:0", threads=1, max_batch=16)
    inputs = sample_inputs(list(engine.inputs), seed=3, batch=16)
    expected = engine.infer(inputs).outputs["logits"]
    errors: list[Exception] = []

    def profile() -> None:
        try:
            for _ in range(20):
                engine.profile(inputs)
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=profile)
    thread.start()
    while thread.is_alive():
        np.testing.assert_array_equal(engine.infer(inputs).outputs["logits"], expected)
    thread.join()
    engine.close()
    assert not errors


def test_loading_again_and_again_keeps_no_memory(repository: Path):
    from sloctl.engines import cuda

    folder = next((repository / "digits").iterdir())

    def once() -> int:
        engine, manifest = load_engine(folder, device="cuda:0", threads=1, max_batch=64)
        probe(engine, manifest)
        engine.profile(sample_inputs(list(engine.inputs), seed=0, batch=64))
        engine.close()
        return cuda.free_memory()

    once()
    first = once()
    assert min(once() for _ in range(5)) >= first - (8 << 20)


def test_a_plan_for_another_gpu_is_refused_before_it_is_loaded(repository: Path):
    folder = next((repository / "digits").iterdir())
    manifest = read_manifest(folder)
    try:
        write_manifest(folder, manifest.model_copy(update={"compute_capability": "7.5"}))
        with pytest.raises(EngineError, match=r"capability 7\.5"):
            load_engine(folder, device="cuda:0", threads=1, max_batch=1)
    finally:
        write_manifest(folder, manifest)


def test_batches_in_hand_at_once_keep_apart_through_graphs_and_checks(repository: Path):
    folder = next((repository / "digits").iterdir())
    engine, manifest = load_engine(folder, device="cuda:0", threads=1, max_batch=64)
    assert engine.concurrency >= 2
    batches = {size: sample_inputs(list(engine.inputs), seed=size, batch=size) for size in (1, 7, 64)}
    expected = {size: engine.infer(batch).outputs["logits"] for size, batch in batches.items()}
    wrong: list[str] = []

    def work(size: int) -> None:
        for _ in range(100):
            found = engine.infer(batches[size]).outputs["logits"]
            if not np.allclose(found, expected[size], atol=1e-3):
                wrong.append(f"batch {size}")

    threads = [threading.Thread(target=work, args=(size,)) for size in batches]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        probe(engine, manifest)
        engine.check(batches[1])
        engine.profile(batches[7])
    engine.close()
    assert not wrong


def test_requests_in_one_batch_are_answered_as_alone(repository: Path):
    folder = next((repository / "digits").iterdir())
    engine, _ = load_engine(folder, device="cuda:0", threads=1, max_batch=64)
    whole = sample_inputs(list(engine.inputs), seed=5, batch=48)
    parts = [{"image": whole["image"][at : at + 16]} for at in (0, 16, 32)]
    for _ in range(3):
        together = engine.infer(*parts).outputs["logits"]
        np.testing.assert_allclose(together, engine.infer(whole).outputs["logits"], atol=1e-3)
    engine.close()
