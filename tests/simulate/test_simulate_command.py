"""`sloctl simulate` as a user runs it."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sloctl.cli.main import app

GIVEN = ["--variant", "fp32=500:0.98", "--variant", "int8=1000:0.97"]


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", "-c", str(folder / "sloctl.yaml"), *arguments])


def test_a_table_and_a_picture(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "step.svg"
    result = run(folder, "--synthetic", "step", "--duration", "10m", *GIVEN, "--svg", str(picture))
    assert result.exit_code == 0, result.output
    assert "precision:down: fp32 → int8  [planner]" in result.stdout
    assert "s an hour" in result.stdout
    shapes = [element.tag.rpartition("}")[2] for element in ET.fromstring(picture.read_text()).iter()]
    assert shapes.count("polyline") >= 3
    assert shapes.count("rect") >= 3


def test_json_for_programs_is_the_same_for_a_seed(folder: Path) -> None:
    words = ("--synthetic", "sine", "--duration", "20m", "--seed", "4", "--json", *GIVEN)
    first, second = run(folder, *words), run(folder, *words)
    assert first.stdout == second.stdout
    told = json.loads(first.stdout)
    assert told["offered"] == pytest.approx(sum(told["outcomes"].values()), rel=0.01)
    assert set(told["variants"]) == {"fp32", "int8"}


def test_a_trace_is_played(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.csv"
    path.write_text("at,offered_rate\n" + "".join(f"{1000 + second},{900}\n" for second in range(120)))
    played = run(folder, str(path), "--tick", "1s", "--json", *GIVEN)
    assert "does not tell the rows of requests (request_rows): each counts as one row" in played.stderr
    told = json.loads(played.stdout)
    assert told["offered"] == pytest.approx(120 * 900)
    assert [each["after"] for each in told["decisions"]] == ["int8"]


def test_a_policy_with_tiers_is_refused_in_words(folder: Path) -> None:
    rule = '{name: cheap, when: "offered_rate > 5", action: {tiers: {low: int8}}}'
    path = folder / "policy.yaml"
    path.write_text(path.read_text().replace("rules: []", f"rules: [{rule}]"))
    result = run(folder, "--synthetic", "step", *GIVEN)
    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    assert "has tiers, and a simulation serves all classes with one variant" in result.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([*GIVEN], "name either a trace or --synthetic"),
        (["--synthetic", "step"], "digits/fp32 was not measured: import it"),
        (["--synthetic", "step", "--variant", "fp32=fast"], "expected NAME=CAPACITY[:ACCURACY]"),
        (["--synthetic", "step", "--model", "letters", *GIVEN], "no policy for letters"),
        (["--synthetic", "step", "--duration", "3", *GIVEN], "--duration 3: expected a duration"),
        (["--synthetic", "week", "--tick", "10ms", *GIVEN], "a longer --tick"),
        (["nothing.csv", *GIVEN], "nothing.csv: No such file"),
    ],
)
def test_wrong_input_is_said_plainly(folder: Path, words: list[str], says: str) -> None:
    result = run(folder, *words)
    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    assert says in result.output
