"""The page for authors shows what the commands print."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sloctl.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs/authoring.md").read_text()
FILE = re.search(r"`slo\.yaml`:\n\n```yaml\n(.*?)```", PAGE, re.S)
SESSIONS = re.findall(r"^```console\n\$ (sloctl [^\n]+)\n(.*?)```$", PAGE, re.S | re.M)


@pytest.mark.parametrize(("command", "printed"), SESSIONS, ids=[command for command, _ in SESSIONS])
def test_the_page_shows_what_a_command_prints(
    command: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FILE is not None
    (tmp_path / "slo.yaml").write_text(FILE[1])
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, command.split()[1:]).output == printed


def test_the_page_shows_every_command_but_the_one_for_editors() -> None:
    assert {command.split()[1] for command, _ in SESSIONS} == {"validate", "fmt", "convert"}
