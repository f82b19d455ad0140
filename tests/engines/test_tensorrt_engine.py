"""The TensorRT engine against a fake of its two libraries; tests/gpu has the real ones."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sloctl.engines import cuda, loading, tensorrt_runtime
from sloctl.engines.base import DeviceArray, DeviceLostError, EngineError, TensorSpec
from sloctl.engines.manifest import ManifestError, read_manifest, write_manifest
from sloctl.engines.measure import make_manifest
from sloctl.engines.tensorrt import TensorRTEngine

LEAN = "libnvinfer_lean.so.8"


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "tiny" / "fp16"
    folder.mkdir(parents=True)
    path = folder / "model.plan"
    path.write_bytes(b"ftrt" + bytes(100))
    return path


def _engine(plan: Path, max_batch: int = 64, lean: str | None = None) -> TensorRTEngine:
    return TensorRTEngine(plan, device="cuda:0", max_batch=max_batch, lean_runtime=lean)


def _rows(count: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(count).random((count, 4), dtype=np.float32)}


def test_it_says_what_the_plan_takes_and_gives(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    assert list(engine.inputs) == [TensorSpec("x", "FP32", (-1, 4))]
    assert list(engine.outputs) == [TensorSpec("y", "FP32", (-1, 3))]
    assert engine.max_batch == 8  # the optimisation profile's
    assert _engine(plan, max_batch=3).max_batch == 3
    assert engine.runtime == "tensorrt_lean_bindings 10.16.1.11"
    assert engine.memory_bytes > 0


def test_batches_of_any_size_are_computed_and_timed(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    for count in (3, 8, 1, 1):
        inputs = _rows(count)
        execution = engine.infer(inputs)
        np.testing.assert_allclose(execution.outputs["y"], inputs["x"] @ gpu.weights, rtol=1e-6)
        assert execution.engine_seconds == pytest.approx(0.25e-3)
        assert execution.enqueue_seconds > 0


def test_outputs_stay_as_they_were_when_the_next_batch_runs(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    first = engine.infer(_rows(2)).outputs["y"]
    kept = first.copy()
    engine.infer(_rows(3))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param({}, "no input x", id="a missing input"),
        pytest.param({"x": np.zeros((1, 4))}, "float64; expected FP32", id="another datatype"),
        pytest.param({"x": np.zeros((1, 1), np.float32)}, r"shape \[1, 1\]", id="a shape that numpy would broadcast"),
        pytest.param({"x": np.zeros((4,), np.float32)}, r"shape \[4\]", id="a missing dimension"),
        pytest.param({"x": np.zeros((9, 4), np.float32)}, "9 rows; expected 1 to 8", id="a batch too large"),
        pytest.param({"x": np.zeros((0, 4), np.float32)}, "0 rows", id="an empty batch"),
    ],
)
def test_inputs_that_do_not_fit_never_reach_the_device(gpu: SimpleNamespace, plan: Path, inputs: dict, message: str):
    engine = _engine(plan)
    with pytest.raises(EngineError, match=message):
        engine.infer(inputs)
    assert engine.infer(_rows(1)).outputs["y"].shape == (1, 3)


def test_layers_are_timed_on_an_engine_of_their_own(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    hot = engine.infer(_rows(2)).outputs["y"]
    layers = engine.profile(_rows(2))
    assert [(layer.name, layer.seconds) for layer in layers] == [("conv + relu", 0.5e-3), ("gemm", 0.25e-3)]
    assert len(engine.profile(_rows(1))) == 2
    np.testing.assert_array_equal(engine.infer(_rows(2)).outputs["y"], hot)


def test_a_profile_may_come_from_another_thread(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(engine.profile(_rows(2)))))
    thread.start()
    thread.join()
    assert found == [2]


def test_closing_frees_everything_and_can_be_repeated(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    engine.profile(_rows(1))
    assert gpu.cuda.memory
    engine.close()
    engine.close()
    assert not gpu.cuda.memory
    assert not gpu.cuda.handles
    for use in (engine.infer, engine.profile):
        with pytest.raises(EngineError, match="closed"):
            use(_rows(1))


@pytest.mark.parametrize("call", ["Malloc", "MallocHost"])
def test_a_load_that_runs_out_of_memory_leaves_nothing_behind(gpu: SimpleNamespace, plan: Path, call: str):
    gpu.cuda.fails[call] = gpu.cuda.cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(EngineError, match="cudaErrorMemoryAllocation"):
        _engine(plan)
    assert not gpu.cuda.memory
    assert not gpu.cuda.handles


def test_a_sticky_error_fails_every_call_by_its_name_and_closing_still_ends(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    gpu.cuda.sticky = True
    with pytest.raises(DeviceLostError, match="cudaErrorIllegalAddress"):
        engine.infer(_rows(1))
    with pytest.raises(EngineError, match="cudaErrorIllegalAddress"):
        loading.check_device("cuda:0")
    engine.close()


def test_a_file_that_is_no_plan_is_refused_in_tensorrts_words(gpu: SimpleNamespace, plan: Path):
    plan.write_bytes(b"\x08\x08" + bytes(100))
    with pytest.raises(EngineError, match="cannot deserialise it: magic tag does not match"):
        _engine(plan)


def test_a_datatype_that_cannot_be_served_is_named(gpu: SimpleNamespace, plan: Path):
    gpu.trt.kind = "FP8"
    with pytest.raises(EngineError, match="tensor x is FP8"):
        _engine(plan)


@pytest.mark.parametrize("place", ["variant", "repository", "SLOCTL_TENSORRT_LIB_DIR", "LD_LIBRARY_PATH"])
def test_a_lean_runtime_is_found_where_it_may_be(
    gpu: SimpleNamespace, plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    folder = {"variant": plan.parent, "repository": tmp_path / "repository"}.get(place, tmp_path / "lib")
    folder.mkdir(exist_ok=True)
    (folder / LEAN).touch()
    if place.isupper():
        monkeypatch.setenv(place, str(folder))
    _engine(plan, lean=LEAN)
    assert gpu.trt.loaded == [str(folder / LEAN)]


def test_a_lean_runtime_that_is_nowhere_says_where_it_was_looked_for(gpu: SimpleNamespace, plan: Path):
    with pytest.raises(EngineError, match=f"needs {LEAN}.*repository.*SLOCTL_TENSORRT_LIB_DIR"):
        _engine(plan, lean=LEAN)


@pytest.mark.parametrize(
    ("here", "built", "lean", "message"),
    [
        ("10.16.1.11", "10.16.1.11", None, None),
        ("10.16.1.11", "10.15.0.3", None, "for TensorRT 10.15.0.3, this machine has 10.16.1.11"),
        ("11.4.0.1", "10.16.1.11", None, "build it again"),
        ("10.16.1.11", "8.6.0", LEAN, None),
        ("8.6.0", "8.6.0", LEAN, None),
        ("11.4.0.1", "8.6.0", LEAN, "by TensorRT 8 or 10 only, this machine has 11.4.0.1"),
        ("11.4.0.1", "10.16.1.11", "libnvinfer_lean.so.10", None),
        ("10.16.1.11", "11.1.0", "libnvinfer_lean.so.11", "by TensorRT 11 only"),
        ("10.16.1.11", "8.6.0", "evil.so", "no library of TensorRT"),
    ],
)
def test_a_plan_for_another_tensorrt_is_refused_before_it_can_crash_the_process(
    gpu: SimpleNamespace, here: str, built: str, lean: str | None, message: str | None
):
    gpu.trt.__version__ = here
    if message is None:
        tensorrt_runtime.check_version(built, lean)
        return
    with pytest.raises(EngineError, match=message):
        tensorrt_runtime.check_version(built, lean)


def test_without_tensorrt_every_module_that_was_tried_is_named(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_lean_bindings", None)
    with pytest.raises(EngineError) as error:
        tensorrt_runtime.module()
    assert all(name in str(error.value) for name in tensorrt_runtime.MODULES)
    assert "sloctl[tensorrt-lean]" in str(error.value)


@pytest.mark.parametrize("device", ["cuda:0", "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"])
def test_a_device_goes_by_number_or_uuid(gpu: SimpleNamespace, device: str):
    assert cuda.select(device) == 0
    assert loading.check_device(device) == "Fake H1"


def test_a_device_that_is_not_there_is_named(gpu: SimpleNamespace):
    with pytest.raises(EngineError, match="no CUDA device 'gpu7' among 1"):
        loading.check_device("gpu7")


def _measured(plan: Path) -> Path:
    engine = _engine(plan)
    manifest = make_manifest(
        plan, engine, precision="fp16", runtime="tensorrt", device_name="Fake H1", compute_capability="9.0"
    )
    engine.close()
    write_manifest(plan.parent, manifest)
    return plan.parent


def test_a_plan_is_loaded_by_its_manifest_and_probed(gpu: SimpleNamespace, plan: Path):
    folder = _measured(plan)
    engine, manifest = loading.load_engine(folder, device="cuda:0", threads=1, max_batch=4)
    loading.probe(engine, manifest)
    assert engine.max_batch == 4
    engine.close()


@pytest.mark.parametrize(
    ("change", "device", "message"),
    [
        pytest.param({"compute_capability": "8.6"}, "cuda:0", "capability 8.6, this GPU has 9.0", id="another GPU"),
        pytest.param({"runtime_version": "10.3.0"}, "cuda:0", "for TensorRT 10.3.0", id="another TensorRT"),
        pytest.param({}, "cpu", "cannot run on device cpu", id="no GPU at all"),
    ],
)
def test_a_plan_that_does_not_belong_here_is_refused(
    gpu: SimpleNamespace, plan: Path, change: dict[str, str], device: str, message: str
):
    folder = _measured(plan)
    write_manifest(folder, read_manifest(folder).model_copy(update=change))
    with pytest.raises(EngineError, match=message):
        loading.load_engine(folder, device=device, threads=1, max_batch=4)


def test_an_onnx_file_given_as_a_plan_is_refused_before_tensorrt_sees_it(gpu: SimpleNamespace, plan: Path):
    folder = _measured(plan)
    data = b"\x08\x08\x3a" + bytes(range(200, 256)) + bytes(45)
    assert len(data) == plan.stat().st_size
    plan.write_bytes(data)
    manifest = read_manifest(folder)
    with pytest.raises(ManifestError, match="SHA-256"):
        loading.check_model(folder, manifest, "cuda:0")
    import hashlib

    honest = manifest.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    with pytest.raises(EngineError, match="an ONNX model, where tensorrt needs a TensorRT plan"):
        loading.check_model(folder, honest, "cuda:0")


# Contexts, slots and graphs


def test_the_third_launch_of_a_shape_is_a_graph_and_gives_the_same(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    for _ in range(3):
        for count in (2, 5):
            inputs = _rows(count)
            np.testing.assert_allclose(engine.infer(inputs).outputs["y"], inputs["x"] @ gpu.weights, rtol=1e-6)
    assert gpu.cuda.graph_launches == 4  # a shape's first launch goes without


@pytest.mark.parametrize("call", ["StreamBeginCapture", "GraphInstantiate"])
def test_a_shape_that_cannot_be_captured_is_launched_plainly_ever_after(gpu: SimpleNamespace, plan: Path, call: str):
    engine = _engine(plan)
    gpu.cuda.fails[call] = gpu.cuda.cudaError_t.cudaErrorMemoryAllocation
    for _ in range(2):
        engine.infer(_rows(2))
    gpu.cuda.fails.clear()
    inputs = _rows(2)
    np.testing.assert_allclose(engine.infer(inputs).outputs["y"], inputs["x"] @ gpu.weights, rtol=1e-6)
    assert not gpu.cuda.graph_launches


def test_requests_are_joined_on_the_device_wherever_they_lie(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    whole = _rows(6)["x"]
    on_device = DeviceArray(whole[1:3].ctypes.data, (2, 4), whole.dtype)  # the fake's device memory is the host's
    backwards = np.ascontiguousarray(whole[3:][:, ::-1])[:, ::-1]
    assert not backwards.flags.c_contiguous
    for _ in range(3):
        execution = engine.infer({"x": whole[:1]}, {"x": on_device}, {"x": backwards})
        np.testing.assert_allclose(execution.outputs["y"], whole @ gpu.weights, rtol=1e-6)


def test_requests_of_different_shapes_are_no_batch(gpu: SimpleNamespace, plan: Path):
    with pytest.raises(EngineError, match="expected 1 to 8"):
        _engine(plan).infer(_rows(5), _rows(4))


def test_two_batches_are_in_hand_at_once_and_keep_apart(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    assert engine.concurrency == 2
    for _ in range(2):
        engine.infer(_rows(3))  # the second batch's slot has no graph yet
    met = threading.Barrier(2, timeout=10)
    gpu.cuda.before_sync = met.wait  # neither comes back before the other was launched
    found: dict[int, np.ndarray] = {}

    def run(count: int) -> None:
        found[count] = engine.infer(_rows(count)).outputs["y"]

    threads = [threading.Thread(target=run, args=(count,)) for count in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for count in (3, 4):
        np.testing.assert_allclose(found[count], _rows(count)["x"] @ gpu.weights, rtol=1e-6)


def test_every_profile_has_a_context_and_the_nearest_is_taken(gpu: SimpleNamespace, plan: Path):
    gpu.trt.profiles, gpu.trt.most_contexts = [(1, 1, 2), (1, 16, 32)], 2
    engine = _engine(plan)
    assert (engine.max_batch, engine.concurrency) == (32, 4)
    contexts = {count: engine.infer(_rows(count)).context for count in (1, 2, 3, 32)}
    assert contexts == {1: 0, 2: 0, 3: 1, 32: 1}


def test_shapes_between_profiles_are_refused_with_the_ranges(gpu: SimpleNamespace, plan: Path):
    gpu.trt.profiles, gpu.trt.most_contexts = [(1, 1, 2), (8, 16, 32)], 2
    with pytest.raises(EngineError, match=r"\[4, 4\] fit no optimisation profile: \[1, 4\] to \[2, 4\]; \[8, 4\] to"):
        _engine(plan).infer(_rows(4))


def test_as_many_contexts_as_asked_for_and_as_the_plan_gives(gpu: SimpleNamespace, plan: Path):
    gpu.trt.most_contexts = 5
    asked = TensorRTEngine(plan, device="cuda:0", max_batch=8, contexts=3)
    assert asked.concurrency == 6
    gpu.trt.most_contexts = 2
    assert TensorRTEngine(plan, device="cuda:0", max_batch=8, contexts=3).concurrency == 4


@pytest.mark.parametrize(("contexts", "context"), [(1, 0), (2, 1)])
def test_a_check_has_a_context_of_its_own_where_the_plan_gives_one(
    gpu: SimpleNamespace, plan: Path, contexts: int, context: int
):
    gpu.trt.most_contexts = contexts
    engine = _engine(plan)
    execution = engine.check(_rows(1))
    assert execution.context == context
    np.testing.assert_allclose(execution.outputs["y"], _rows(1)["x"] @ gpu.weights, rtol=1e-6)


@pytest.mark.parametrize(("contexts", "deserialised"), [(2, 2), (3, 1)])
def test_a_plan_is_deserialised_again_for_profiles_only_if_need_be(
    gpu: SimpleNamespace, plan: Path, contexts: int, deserialised: int
):
    gpu.trt.most_contexts = contexts
    engine = _engine(plan)
    assert len(engine.profile(_rows(2))) == 2
    assert gpu.trt.deserialised == deserialised


def test_the_inspector_tells_of_layers_where_the_engine_can_be_asked(gpu: SimpleNamespace, plan: Path):
    assert _engine(plan).layers["conv + relu"].nodes == ("conv", "relu")
    gpu.trt.information = "no layer information, sorry"
    assert _engine(plan).layers == {}
    (plan.parent / LEAN).touch()
    gpu.trt.information = '{"Layers": ["gemm"]}'
    assert _engine(plan, lean=LEAN).layers == {}


def test_a_batch_that_was_handed_over_is_waited_for_no_longer_than_asked(gpu: SimpleNamespace, plan: Path):
    engine = _engine(plan)
    gpu.cuda.fails["EventQuery"] = gpu.cuda.cudaError_t.cudaErrorNotReady
    flight = engine.begin(_rows(2))
    assert not flight.wait(0.0)
    gpu.cuda.fails.clear()
    assert flight.wait(0.0)
    np.testing.assert_allclose(flight.result().outputs["y"], _rows(2)["x"] @ gpu.weights, rtol=1e-6)


@pytest.mark.parametrize("call", ["MemcpyAsync", "GraphLaunch", "EventSynchronize"])
def test_a_batch_that_fails_gives_its_slot_back(gpu: SimpleNamespace, plan: Path, call: str):
    engine = _engine(plan)
    engine.infer(_rows(2))
    for _ in range(5):
        gpu.cuda.fails[call] = gpu.cuda.cudaError_t.cudaErrorMemoryAllocation
        with pytest.raises(EngineError, match=call):
            engine.infer(_rows(2))
        gpu.cuda.fails.clear()
        engine.infer(_rows(2))
