"""How problems look, and that the reference explains every one of them."""

import re
from pathlib import Path
from typing import Any

import pytest

from sloctl.cli.validate import problems_of
from sloctl.config.lint_objectives import Limits
from sloctl.config.lints import Options
from sloctl.config.problems import Code, ConfigError, Problem, Severity, arranged, render, require

REFERENCE = Path(__file__).parents[2] / "docs/reference/errors.md"
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", REFERENCE.read_text(), re.MULTILINE | re.DOTALL))
EXAMPLES = {code: found[1] for code, text in SECTIONS.items() if (found := re.search(r"```yaml\n(.*?)```", text, re.S))}
# A daemon to hold the examples of SLOs and policies against.
DAEMON = "apiVersion: sloctl/v1\nkind: Daemon\nmodels: [{name: digits, variants: [fp32, int8]}]\n"
# What the examples of warnings name as options.
OPTIONS = Options(Limits(retention=15 * 86400.0), series=40)

PROBLEM = Problem(
    Path("a.yaml"), 12, 7, Code.UNKNOWN_FIELD, "unknown field", "another", "spec.x", "    - targt: 0.99", 5
)


def test_a_problem_shows_place_line_caret_and_what_was_expected() -> None:
    assert PROBLEM.render() == (
        "a.yaml:12:7: error[unknown-field]: unknown field\n"
        "12 |     - targt: 0.99\n"
        "   |       ^^^^^\n"
        "   = expected: another"
    )


def test_colours_add_nothing_but_colours() -> None:
    colored = PROBLEM.render(color=True)
    assert "\x1b[1;31merror[unknown-field]\x1b[0m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == PROBLEM.render()


def test_a_problem_of_a_whole_file_has_no_line() -> None:
    problem = Problem(Path("a.yaml"), 0, 0, Code.FILE_TOO_LARGE, "larger than 1 MiB")
    assert problem.render() == "a.yaml: error[file-too-large]: larger than 1 MiB"


def test_a_long_line_is_clipped_around_the_caret() -> None:
    problem = Problem(Path("a.yaml"), 1, 501, Code.YAML_SYNTAX, "", excerpt="x" * 500 + "Y" + "z" * 500)
    _, line, caret = problem.render().split("\n")
    assert len(line) < 120
    assert line[caret.index("^")] == "Y"


def test_a_tab_before_the_caret_does_not_shift_it() -> None:
    _, line, caret = Problem(Path("a"), 1, 3, Code.YAML_TAB, "", excerpt="\t\tX").render().split("\n")
    assert line[caret.index("^")] == "X"


def test_a_file_cannot_steer_the_terminal() -> None:
    evil = "\x1b]0;x\x07"
    text = Problem(Path(f"{evil}.yaml"), 1, 1, Code.YAML_KEY, evil, evil, excerpt=evil).render()
    assert "\x1b" not in text
    assert "\x07" not in text


def test_problems_are_sorted_and_each_is_shown_once() -> None:
    later = Problem(Path("a.yaml"), 13, 1, Code.YAML_KEY, "b")
    other = Problem(Path("0.yaml"), 20, 1, Code.YAML_KEY, "c")
    assert arranged([later, PROBLEM, other, later]) == (other, PROBLEM, later)
    assert render(arranged([later, PROBLEM, other])).endswith("\n\n3 problems in 2 files")
    assert render([PROBLEM]).endswith("\n\n1 problem in 1 file")


def test_require_raises_with_all_problems_and_shows_them() -> None:
    require([])
    with pytest.raises(ConfigError) as error:
        require([PROBLEM])
    assert error.value.problems == (PROBLEM,)
    assert "error[unknown-field]" in str(error.value)


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    assert sorted(SECTIONS) == sorted(Code)


@pytest.mark.parametrize("code", Code)
def test_every_section_says_the_cure(code: Code) -> None:
    assert "\nCure: " in SECTIONS[code]


@pytest.mark.parametrize("code", [Code(code) for code in EXAMPLES])
def test_every_example_of_the_reference_has_the_problem_that_it_shows(code: Code, tmp_path: Path) -> None:
    example, daemon = tmp_path / "example.yaml", tmp_path / "daemon.yaml"
    example.write_text(EXAMPLES[code])
    daemon.write_text(DAEMON)
    alone, queries = "kind: Daemon" in EXAMPLES[code], code.severity is Severity.WARNING
    problems = problems_of([example], None if alone or queries else daemon, OPTIONS)
    codes = {problem.code for problem in problems}
    assert code in codes, render(problems)
    if code.severity is Severity.WARNING:
        assert codes <= {code, Code.BEYOND_RETENTION}, render(problems)


def test_only_problems_that_yaml_alone_cannot_show_have_no_example() -> None:
    without = {"file-unreadable", "file-too-large", "file-not-utf8", "yaml-character", "restart-needed"}
    without |= {"not-convertible", "not-carried"}  # of sloctl convert
    assert set(Code) - set(EXAMPLES) == without


def test_the_json_form_names_file_place_and_code() -> None:
    shown: dict[str, Any] = PROBLEM.as_dict()
    assert shown["file"] == "a.yaml"
    assert (shown["line"], shown["column"], shown["code"], shown["field"]) == (12, 7, "unknown-field", "spec.x")
