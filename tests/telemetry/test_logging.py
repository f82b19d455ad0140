"""Log lines as they reach standard error."""

import json
import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from sloctl.telemetry.logging import LEVELS, configure_from_environment, configure_logging


@pytest.fixture(autouse=True)
def _unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SLOCTL_LOG", "")
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = before[0]
    root.setLevel(before[1])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_json_is_one_object_a_line_with_time_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", as_json=True)
    structlog.get_logger("x").info("plane started", plane="data", pid=7)
    (line,) = lines(capsys)
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "plane started", "level": "info", "plane": "data", "pid": 7}


def test_what_is_not_a_terminal_gets_json_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    structlog.get_logger().warning("w")
    assert json.loads(lines(capsys)[0])["event"] == "w"


def test_text_has_no_escape_codes_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", as_json=False)
    structlog.get_logger().info("plane started", plane="data")
    (line,) = lines(capsys)
    assert "plane started" in line
    assert "plane=data" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_lets_through_itself_and_what_is_graver(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level, as_json=True)
    for name in LEVELS:
        getattr(structlog.get_logger(), name)(name)
        getattr(logging.getLogger("library"), name)(f"library {name}")
    shown = [json.loads(line)["event"] for line in lines(capsys)]
    wanted = LEVELS[LEVELS.index(level) :]
    assert shown == [event for name in wanted for event in (name, f"library {name}")]


def test_an_unknown_level_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="log level 'loud' is not one of debug, info, warning, error"):
        configure_logging("loud")


def test_an_exception_is_data_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", as_json=True)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    (line,) = lines(capsys)
    assert json.loads(line)["exception"][0]["exc_value"] == "broken"


def test_setting_up_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", as_json=True)
    configure_logging("info", as_json=True)
    structlog.get_logger().info("once")
    logging.getLogger("library").warning("once too")
    assert [json.loads(line)["event"] for line in lines(capsys)] == ["once", "once too"]


def test_a_plane_logs_as_the_supervisor_was_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", as_json=False)
    assert os.environ["SLOCTL_LOG"] == "warning,text"
    structlog.reset_defaults()
    configure_from_environment()
    structlog.get_logger().info("hidden")
    structlog.get_logger().warning("shown")
    (line,) = lines(capsys)
    assert "shown" in line
    assert not line.startswith("{")


@pytest.mark.parametrize("value", ["", "nonsense", "loud,xml"])
def test_an_odd_environment_falls_back_to_json(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLOCTL_LOG", value)
    configure_from_environment()
    structlog.get_logger().info("shown")
    assert json.loads(lines(capsys)[0])["event"] == "shown"
