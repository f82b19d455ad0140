"""`sloctl test` as a user runs it: the shipped cases, and what it says where something does not hold."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from sloctl.cli.main import app

ROOT = Path(__file__).parents[2]
CASES = sorted((ROOT / "rules/tests").glob("*.yaml"))
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus"
)
OK, BAD = (f'sloctl_requests_total{{model="digits", outcome="{outcome}"}}' for outcome in ("ok", "error"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["test", *map(str, arguments)])


def one(folder: Path, *expect: dict[str, Any], series: dict[str, str] | None = None, **spec: Any) -> Path:
    case = {"name": "x", "series": series or {OK: "0+9x60", BAD: "0+1x60"}, "expect": list(expect)}
    slos = [str(ROOT / "rules/slo/availability.yaml")]
    document = {"apiVersion": "sloctl/v1", "kind": "Test", "metadata": {"name": "x"}}
    path = folder / "cases.yaml"
    path.write_text(yaml.safe_dump({**document, "spec": {"slos": slos, "tests": [case], **spec}}))
    return path


@needs_promtool
@pytest.mark.integration
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_shipped_cases_hold(path: Path) -> None:
    result = run(path)
    assert result.exit_code == 0, result.output
    assert "all hold" in result.output


def test_every_shipped_rule_file_has_cases() -> None:
    named = " ".join(path.read_text() for path in CASES)
    # The workbook's windows are what cases without windows of their own are held against.
    shipped = [*ROOT.glob("rules/slo/*.yaml"), *ROOT.glob("rules/policies/*.yaml"), ROOT / "rules/windows/demo.yaml"]
    assert [path.name for path in shipped if f"{path.parent.name}/{path.name}" not in named] == []


@pytest.mark.parametrize("samples", ["0+9e18x60", "0 Inf 5x60", "0+1e300x60"])
def test_more_than_can_be_counted_is_told_in_words(tmp_path: Path, samples: str) -> None:
    result = run(one(tmp_path, {"at": "30m", "alerts": []}, series={OK: samples}), "--engine", "in-process")
    assert isinstance(result.exception, SystemExit)
    assert "counts more than 64 bits hold" in result.output


@needs_promtool
@pytest.mark.integration
def test_what_does_not_hold_is_told_with_its_place_and_what_both_engines_found(tmp_path: Path) -> None:
    path = one(tmp_path, {"at": "1h", "slo": "digits-availability", "errorRatio": {"1h": "5%"}})
    result = run(path)
    assert result.exit_code == 1
    said = result.output
    assert f"{path.name}:" in said or str(path) in said
    assert "at 1h, errorRatio 1h of digits-availability" in said
    lines = [line.split() for line in said.splitlines()]
    assert ["expected", "0.05"] in lines
    assert ["in", "process", "0.1"] in lines
    assert ["promtool", "0.1"] in lines
    assert "1 cases, 1 expectations: 1 failed" in said


def test_in_json_there_is_each_expectation_and_what_was_found(tmp_path: Path) -> None:
    path = one(
        tmp_path,
        {"at": "1h", "slo": "digits-availability", "burnRate": {"1h": 100}, "budgetRemaining": -99},
        {"at": "0s", "alerts": []},
    )
    result = run(path, "--format", "json", "--engine", "in-process")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["expectations"]
    assert [(each["what"], each["at"], each["holds"]) for each in found] == [
        ("burnRate 1h", 3600, True),
        ("budgetRemaining", 3600, True),
        ("alerts", 0, True),
    ]
    assert found[2]["found"] == {"in process": "none"}


@pytest.mark.parametrize(
    ("expect", "more", "message"),
    [
        ({"at": "1h", "slo": "nobody", "budgetRemaining": 1}, {}, 'there is no SLO "nobody"'),
        ({"at": "1h", "budgetRemaining": 1}, {}, "slo: NAME"),
        ({"at": "1h"}, {}, "nothing is expected"),
        ({"at": "1h", "alerts": []}, {"series": {"a{b=c}": "1"}}, 'expected label="value"'),
        ({"at": "1h", "alerts": []}, {"series": {"a": "one"}}, "'one' is no sample"),
        ({"at": "1h", "alerts": []}, {"series": {"a": "0x1000000"}}, "more than 100000 samples"),
        ({"at": "1h", "alerts": []}, {"windows": "nothing.yaml"}, "nothing.yaml"),
        ({"at": "1h", "precision": "fp32"}, {}, "come of a policy, and none is named"),
        ({"at": "1h", "slo": "digits-availability", "burnRate": {"7m": 1}}, {}, "keeps no window of 7m"),
        ({"at": "1h", "slo": "digits-availability", "burnRate": {"1x": 1}}, {}, "keeps no window of 1x"),
        ({"at": "365000d", "alerts": []}, {}, "more than 100000 samples"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, expect: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    result = run(one(tmp_path, expect, **more), "--engine", "in-process")
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_file_of_something_else_is_refused() -> None:
    result = run(ROOT / "rules/slo/latency.yaml", "--engine", "in-process")
    assert result.exit_code == 1
    assert "no test cases" in result.output


def test_without_promtool_it_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sloctl.cases.with_promtool.available", lambda: False)
    path = one(tmp_path, {"at": "1h", "alerts": []}, series={OK: "0+9x60"})
    result = run(path)
    assert result.exit_code == 0, result.output
    assert "tested in process only" in result.output
    assert run(path, "--engine", "promtool").exit_code == 3
