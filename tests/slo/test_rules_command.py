"""`sloctl rules` as a user runs it."""

import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from sloctl.cli.rules import rules

ROOT = Path(__file__).parents[2]
SAMPLES = [str(ROOT / f"rules/slo/{name}.yaml") for name in ("latency", "availability")]


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(rules)
    return CliRunner().invoke(app, list(arguments))


def test_rules_go_to_standard_output() -> None:
    result = run(*SAMPLES)
    assert result.exit_code == 0, result.output
    groups = yaml.load(result.stdout, yaml.CSafeLoader)["groups"]
    assert [group["name"] for group in groups] == [
        "sloctl-slo-increases-digits-latency",
        "sloctl-slo-digits-latency",
        "sloctl-slo-increases-digits-availability",
        "sloctl-slo-digits-availability",
    ]


def test_rules_go_to_a_file_that_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "rules.yaml"
    target.write_text("old")
    assert run(*SAMPLES, "-o", str(target)).exit_code == 0
    assert "sloctl-slo-digits-latency" in target.read_text()
    assert list(tmp_path.iterdir()) == [target]


def test_other_windows_are_taken_from_their_file() -> None:
    result = run(SAMPLES[0], "--windows", str(ROOT / "rules/windows/demo.yaml"))
    assert result.exit_code == 0, result.output
    groups = yaml.load(result.stdout, yaml.CSafeLoader)["groups"]
    lengths = {rule["labels"].get("sloctl_window") for group in groups for rule in group["rules"]}
    assert lengths == {None, "24m", "2h", "12h", "30d"}  # in proportion to 30 days


def test_a_wrong_file_is_refused_with_its_place_and_nothing_is_written(tmp_path: Path) -> None:
    wrong, target = tmp_path / "slo.yaml", tmp_path / "rules.yaml"
    wrong.write_text(Path(SAMPLES[0]).read_text().replace("value: 0.25", "value: 250"))
    result = run(str(wrong), "-o", str(target))
    assert result.exit_code == 1
    assert "for 250 ms write 0.25" in result.output
    assert "slo.yaml:" in result.output
    assert not target.exists()


def test_files_without_an_slo_are_refused() -> None:
    result = run(str(ROOT / "rules/windows/demo.yaml"))
    assert result.exit_code == 1
    assert "there is no SLO" in result.output


def test_an_output_that_cannot_be_written_is_told_without_a_traceback(tmp_path: Path) -> None:
    result = run(*SAMPLES, "-o", str(tmp_path / "missing" / "rules.yaml"))
    assert result.exit_code == 3
    assert "cannot write" in result.output
    assert "No such file" in result.output


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
def test_promtool_accepts_the_samples_rules(tmp_path: Path) -> None:
    target = tmp_path / "rules.yaml"
    run(*SAMPLES, "-o", str(target))
    done = subprocess.run(["promtool", "check", "rules", str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_built_in_alerts_go_to_a_file_that_can_be_checked(tmp_path: Path) -> None:
    target = tmp_path / "sloctl.yaml"
    assert run("--builtin", "-o", str(target), "--check").exit_code == 1
    assert run("--builtin", "-o", str(target), "--runbooks", "https://wiki").exit_code == 0
    assert "runbook_url: https://wiki/SloctlNotReady.md" in target.read_text()
    assert run("--builtin", "-o", str(target), "--check").exit_code == 1, "the pages are elsewhere"
    assert run("--builtin", "-o", str(target)).exit_code == 0
    assert run("--builtin", "-o", str(target), "--check").exit_code == 0
    assert target.read_text() == run("--builtin").stdout


@pytest.mark.parametrize("arguments", [(), ("--builtin", *SAMPLES), ("--check", *SAMPLES), ("--builtin", "--check")])
def test_what_is_asked_for_must_be_one_thing(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
