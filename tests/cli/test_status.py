"""`sloctl status` as people read it."""

from typing import Any

import pytest
from typer.testing import CliRunner

from sloctl.cli import status
from sloctl.cli.main import app


def slo(**fields: Any) -> dict[str, Any]:
    known = {"name": "x", "target": 0.99, "budgetRemaining": 1.0, "burnRates": {"5m": 0.5}, "alerts": []}
    return {**known, "noData": None, "excluded": None, **fields}


def shown(monkeypatch: pytest.MonkeyPatch, *slos: dict[str, Any], **fields: Any) -> str:
    lists = ("reasons", "troubles", "models", "alerts", "receivedAlerts", "decisions", "overrides")
    answer = {"version": "1", "ready": True, "planes": {}, "slos": slos, **{name: [] for name in lists}, **fields}
    monkeypatch.setattr(status, "call", lambda *_: answer)
    monkeypatch.setenv("COLUMNS", "160")
    result = CliRunner().invoke(app, ["status"])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


def test_an_slo_shows_what_is_left_and_how_fast_it_burns(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, slo())
    assert "100.0%" in said
    assert "5m 0.5" in said


def test_one_without_data_says_why_and_claims_no_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, slo(noData='Prometheus main: no series for {code=~"[a-z]+"} [/]'))
    assert 'no data: Prometheus main: no series for {code=~"[a-z]+"} [/]' in said
    assert "100.0%" not in said
    assert "5m 0.5" not in said


def test_one_that_is_left_out_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, slo(excluded="new disk"))
    assert "5m 0.5" in said
    assert "left out: new disk" in said


def test_reasons_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "engine[/x] gone" in shown(monkeypatch, ready=False, reasons=["engine[/x] gone"])


def test_an_action_is_no_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    decision = {"at": "now", "action": "precision:up", "before": "int8", "after": "fp32", "reason": "calm"}
    assert "precision:up: int8 → fp32" in shown(monkeypatch, decisions=[decision])
