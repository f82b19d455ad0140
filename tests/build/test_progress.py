import pytest

from sloctl.build.progress import Bars, Lines


def _step(phase: str, step: int, steps: int, parent: str | None = None) -> dict:
    return {"event": "progress", "phase": phase, "parent": parent, "step": step, "steps": steps}


EVENTS = [
    _step("Building engine", 0, 2),
    _step("Tactic selection", 0, 3, "Building engine"),
    {"event": "log", "severity": "warning", "message": "a weight is subnormal"},
    _step("Tactic selection", 3, 3, "Building engine"),
    _step("Building engine", 1, 2),
]


def test_lines_tell_whole_phases_and_warnings(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    for event in EVENTS:
        lines.watch(event)
    assert capsys.readouterr().out.splitlines() == [
        "  Building engine: 0 of 2",
        "  TensorRT: a weight is subnormal",
        "  Building engine: 1 of 2",
    ]


def test_a_bar_stands_for_each_phase_that_is_under_way():
    bars = Bars()
    for event in EVENTS:
        bars.watch(event)
    assert [(task.description, task.completed, task.total) for task in bars.progress.tasks] == [
        ("Building engine", 1, 2)
    ]
