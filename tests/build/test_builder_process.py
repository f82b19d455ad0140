import ast
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sloctl.build.builder import SCRIPT, Builder
from sloctl.engines.base import EngineError

Player = Callable[[str], str]


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    model = tmp_path / "m.onnx"
    model.write_bytes(b"a model")

    def make(precision: str = "fp32", **more: Any) -> dict[str, Any]:
        shapes = {"x": [[1, 4], [8, 4], [64, 4]]}
        plan = str(tmp_path / "m.plan")
        return {"model": str(model), "plan": plan, "precision": precision, "profiles": [shapes], **more}

    return make


def _account(path: str) -> dict[str, Any]:
    data = Path(path).read_bytes()
    assert data.startswith(b"ftrt")
    return json.loads(data[4:])


def test_the_script_needs_python_3_8_and_its_standard_library_alone():
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 8))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules <= set(sys.stdlib_module_names)


def test_a_builder_is_inspected(old_tensorrt: str):
    found = Builder("tensorrt", old_tensorrt).inspect()
    assert found.name == "tensorrt 8.6.0"
    assert not found.strongly_typed
    assert "FP16" in found.flags


@pytest.mark.parametrize(
    ("precision", "flags"),
    [("fp32", []), ("tf32", ["TF32"]), ("fp16", ["FP16"]), ("int8", ["FP16", "INT8"])],
)
def test_a_weakly_typed_builder_gets_the_flags_of_the_precision(
    old_tensorrt: str, request_for: Callable[..., dict[str, Any]], precision: str, flags: list[str]
):
    request = request_for(precision, workspace_bytes=1 << 20)
    found = Builder("tensorrt", old_tensorrt).build(request, lambda _: None)
    account = _account(request["plan"])
    assert account["flags"] == flags == sorted(found["set_flags"])
    assert account["profiles"] == [{"x": [[1, 4], [8, 4], [64, 4]]}]
    assert account["limits"] == {"WORKSPACE": 1 << 20}
    assert account["verbosity"] == "DETAILED"


def test_a_plan_may_have_several_optimisation_profiles(old_tensorrt: str, request_for):
    profiles = [{"x": [[1, 4], [1, 4], [4, 4]]}, {"x": [[1, 4], [64, 4], [64, 4]]}]
    request = request_for(profiles=profiles)
    Builder("tensorrt", old_tensorrt).build(request, lambda _: None)
    assert _account(request["plan"])["profiles"] == profiles


def test_a_version_compatible_plan_is_asked_for_by_flags(old_tensorrt: str, request_for):
    request = request_for(version_compatible=True, exclude_lean_runtime=True)
    Builder("tensorrt", old_tensorrt).build(request, lambda _: None)
    assert _account(request["plan"])["flags"] == ["EXCLUDE_LEAN_RUNTIME", "VERSION_COMPATIBLE"]


def test_timings_are_kept_for_the_next_build_and_those_of_another_gpu_are_not_used(
    old_tensorrt: str, request_for, tmp_path: Path
):
    cache, builder = tmp_path / "timings", Builder("tensorrt", old_tensorrt)
    request = request_for(timing_cache=str(cache))
    builder.build(request, lambda _: None)
    assert cache.read_bytes() == b"timing;"
    builder.build(request, lambda _: None)
    assert _account(request["plan"])["timings"] == "timing;"
    cache.write_bytes(b"another;")
    builder.build(request, lambda _: None)
    assert cache.read_bytes() == b"timing;"
    assert sorted(path.name for path in tmp_path.glob("timings*")) == ["timings"]


def test_warnings_are_passed_on_and_prints_are_not_taken_for_events(old_tensorrt: str, request_for):
    events: list[Any] = []
    Builder("tensorrt", old_tensorrt).build(request_for(), events.append)
    assert [(event["event"], event["message"]) for event in events] == [("log", "a warning")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profiles": [{"y": [[1], [1], [1]]}]}, "no shape profile for input x"),
        ({"compute_capability": "8.6"}, r"builds for this machine's GPU only \(.*\), not 8\.6"),
        ({"precision": "bf16"}, "has no builder flag BF16"),
    ],
)
def test_what_the_builder_cannot_do_is_told(old_tensorrt: str, request_for, change: dict, message: str):
    with pytest.raises(EngineError, match=message):
        Builder("tensorrt", old_tensorrt).build({**request_for(), **change}, lambda _: None)


def test_a_model_that_cannot_be_parsed_is_told_in_the_parsers_words(old_tensorrt: str, request_for):
    request = request_for()
    Path(request["model"]).write_bytes(b"")
    with pytest.raises(EngineError, match="cannot read the model: unsupported operator"):
        Builder("tensorrt", old_tensorrt).build(request, lambda _: None)


def test_a_python_without_a_builder_names_what_was_tried():
    with pytest.raises(EngineError, match=r"tried tensorrt_rtx \(.*; tensorrt_rtx_bindings \("):
        Builder("tensorrt-rtx", sys.executable).inspect()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo about to fall >&2; kill -SEGV $$", r"crashed \(SIGSEGV, signal 11\).*about to fall"),
        ("kill -KILL $$", r"crashed \(SIGKILL, signal 9\)"),
        ("exit 3", "ended with status 3 and no result"),
        ("echo good morning", "no event: 'good morning"),
    ],
    ids=["a crash", "killed for memory", "an early end", "another program"],
)
def test_a_builder_that_dies_is_told_as_such(player: Player, script: str, message: str):
    with pytest.raises(EngineError, match=message):
        Builder("tensorrt", player(script)).inspect()


def test_a_python_that_is_not_there_is_named():
    with pytest.raises(EngineError, match="nowhere/python: no such file or directory; name a Python"):
        Builder("tensorrt", "/nowhere/python").inspect()
