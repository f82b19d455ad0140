"""`sloctl validate` as a user runs it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sloctl.cli.main import app
from sloctl.config.project import load_project
from sloctl.engines.manifest import Accuracy, Manifest, TensorEntry, write_manifest

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["validate", *map(str, arguments)])


def test_a_right_project_is_fine(project: Any) -> None:
    result = run(project.daemon)
    assert (result.exit_code, result.stdout) == (0, "no problems\n")


def test_a_daemon_pulls_in_its_files(project: Any) -> None:
    project.spoil(project.slo, "op: lte", "op: le")
    result = run(project.daemon)
    assert result.exit_code == 1
    assert f"{project.slo}:17:10: error[invalid-value]" in result.stdout
    assert "1 problem in 1 file" in result.stdout
    assert "\x1b" not in result.stdout


def test_json_is_for_programs(project: Any) -> None:
    project.spoil(project.slo, "op: lte", "op: le")
    result = run(project.daemon, "--format", "json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)["problems"]
    assert (problem["file"], problem["line"], problem["code"]) == (str(project.slo), 17, "invalid-value")
    assert json.loads(run(ROOT / "rules/windows/demo.yaml", "--format", "json").stdout) == {"problems": []}


WARNED = """\
apiVersion: sloctl/v1
kind: ServiceLevel
metadata: {name: x}
spec: {objectives: [{name: one, sli: success, target: 99.9%, minimumEvents: 1}]}
"""


def test_warnings_alone_are_fine_but_for_strict(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(WARNED)
    result = run(path)
    assert result.exit_code == 0
    assert f"{path}:4:77: warning[too-few-events]: " in result.stdout
    assert result.stdout.endswith("1 problem in 1 file, 1 of them a warning\n")
    assert run(path, "--strict").exit_code == 1
    (problem,) = json.loads(run(path, "--format", "json").stdout)["problems"]
    assert problem["severity"] == "warning"


def test_a_daemon_takes_files_with_warnings(project: Any) -> None:
    project.write("slos/x.yaml", WARNED)
    load_project(project.daemon)


def test_github_shows_problems_beside_the_line(project: Any) -> None:
    project.spoil(project.slo, "op: lte", "op: le")
    project.write("slos/x.yaml", WARNED)
    error, warning = run(project.daemon, "--format", "github").stdout.splitlines()
    start = f"::error file={project.slo},line=17,col=10,title=invalid-value::op is "
    assert error.startswith(start)
    assert warning.startswith(f"::warning file={project.root}/slos/x.yaml,line=4,col=77,title=too-few-events::")


def test_github_cannot_be_given_commands_of_a_files(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("apiVersion: 'a%\\n::error::'\nkind: \"SLO\\n::stop-commands::x\"\n")
    lines = run(path, "--format", "github").stdout.splitlines()
    assert len(lines) == 1


def test_sarif_has_rule_level_and_region(project: Any) -> None:
    project.spoil(project.slo, "op: lte", "op: le")
    log = json.loads(run(project.daemon, "--format", "sarif").stdout)
    (result,) = log["runs"][0]["results"]
    assert (log["version"], result["ruleId"], result["level"]) == ("2.1.0", "invalid-value", "error")
    region = result["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 17, "startColumn": 10, "endColumn": 12}
    assert run(ROOT / "rules/windows/demo.yaml", "--format", "github").stdout == ""


def test_files_are_held_against_the_daemon_that_config_names(project: Any, tmp_path: Path) -> None:
    draft = project.write("draft.yaml", project.policy.read_text().replace("digits", "letters"))
    assert run(draft).exit_code == 0
    result = run(draft, "--config", project.daemon)
    assert result.exit_code == 1
    assert "error[unknown-model]" in result.stdout


def test_files_are_held_against_the_daemon_among_them_in_any_order(project: Any) -> None:
    draft = project.write("draft.yaml", project.policy.read_text().replace("digits", "letters"))
    assert run(draft, project.daemon).stdout == run(project.daemon, draft).stdout
    assert "error[unknown-model]" in run(draft, project.daemon).stdout


def test_two_daemons_are_both_checked(project: Any) -> None:
    other = project.root / "other"
    other.mkdir()
    shutil.copy(project.daemon, other / "sloctl.yaml")
    result = run(project.daemon, other / "sloctl.yaml")
    assert result.exit_code == 1
    assert result.stdout.count("error[no-such-file]") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("missing.yaml",),
        ("--format", "xml", "a.yaml"),
        ("--config", "missing.yaml"),
        (".",),
        (str(ROOT / "rules/slo/latency.yaml"), "--retention", "15"),
    ],
    ids=["no files", "a missing file", "an unknown format", "a missing daemon", "a folder", "no unit"],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_help_says_the_exit_codes() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "0 no problems" in text
    assert "1 problems found" in text
    assert "2 wrong usage" in text


def test_several_tables_of_windows_are_alternatives_and_each_is_checked(project: Any) -> None:
    shipped = sorted(ROOT.glob("rules/windows/*.yaml"))
    assert run(*shipped).exit_code == 0
    bad = project.write("w.yaml", shipped[0].read_text().replace("severity: page", "severity: pgae"))
    result = run(project.daemon, *shipped, bad)
    assert result.exit_code == 1
    assert 'did you mean "page"?' in result.stdout


@pytest.mark.parametrize("policy", sorted(ROOT.glob("rules/policies/*.yaml")), ids=lambda path: path.name)
def test_what_we_ship_is_right(policy: Path) -> None:
    result = run(*ROOT.glob("rules/slo/*.yaml"), policy)  # policies are alternatives, for the same model
    assert (result.exit_code, result.stdout) == (0, "no problems\n")


@pytest.mark.parametrize(("floor", "code"), [(0.9, 0), (0.9999, 1)])
def test_an_accuracy_floor_is_held_against_the_manifests(tmp_path: Path, floor: float, code: int) -> None:
    folder = tmp_path / "digits"
    shutil.copytree(ROOT / "examples" / "digits", folder)
    daemon, policy = folder / "sloctl.yaml", folder / "policy.yaml"
    daemon.write_text(daemon.read_text().replace("../../rules", str(ROOT / "rules")))
    policy.write_text(policy.read_text().replace("accuracyFloor: 0.95", f"accuracyFloor: {floor}"))
    _manifests(folder / "repository" / "digits", fp32=0.98, int8=0.97)
    result = run(daemon)
    assert result.exit_code == code, result.stdout
    assert ("no variant on the ladder reaches 0.9999; the best has 0.98" in result.stdout) == bool(code)
    shutil.rmtree(folder / "repository")
    assert run(daemon).exit_code == 0, "what was not measured cannot be told"


def _manifests(folder: Path, **accuracies: float) -> None:
    for variant, value in accuracies.items():
        tensor = TensorEntry(name="x", datatype="FP32", shape=[-1, 1])
        manifest = Manifest(
            file="model.onnx",
            sha256="0" * 64,
            size=1,
            precision=variant,
            runtime="onnxruntime",
            runtime_version="1",
            inputs=[tensor],
            outputs=[tensor],
            max_batch=1,
            accuracy=Accuracy(value=value, samples=100, data="made up"),
            unmeasured="made up",
        )
        (folder / variant).mkdir(parents=True)
        write_manifest(folder / variant, manifest)
