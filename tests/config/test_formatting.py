"""`sloctl fmt`: one form whatever was written, and nothing lost on the way."""

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from sloctl.cli.main import app
from sloctl.config.documents import KINDS, Files, kind_of
from sloctl.config.formatting import formatted
from sloctl.config.messages import validated
from sloctl.config.sources import Source
from sloctl.config.yaml_tree import comments

ROOT = Path(__file__).parents[2]
SAMPLES = [
    path
    for folder in ("rules/slo", "rules/policies", "rules/windows", "examples/digits")
    for path in sorted((ROOT / folder).glob("*.yaml"))
]
DOCUMENTS = [document for document in Files.read(SAMPLES).documents if kind_of(document) in KINDS]


def form(text: str) -> str:
    result, problems = formatted(Source.of(Path("x.yaml"), text))
    assert not problems, problems
    return result


def said(text: str) -> Counter[str]:
    return Counter(comment.text for comment in comments(text))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_what_we_ship_is_in_its_form(path: Path) -> None:
    assert form(path.read_text()) == path.read_text()


class Writer:
    """Writes a document as somebody might, with comments all over; `drawn` decides."""

    def __init__(self, drawn: Any) -> None:
        self._draw = drawn
        self._count = itertools.count()
        self.behind: dict[str, str] = {}  # a comment and the key that it stands behind

    def _coin(self) -> bool:
        return bool(self._draw(st.booleans()))

    def document(self, value: Any) -> str:
        lines = [*self._above(0), *self._block(value, 0, 0), *self._above(0)]
        return "".join(f"{line}\n" for line in lines)

    def _above(self, indent: int) -> list[str]:
        kinds = self._draw(st.lists(st.sampled_from(["", "#"]), max_size=2))
        return [kind and f"{' ' * indent}# c{next(self._count)}" for kind in kinds]

    def _behind(self, key: str = "") -> str:
        if not self._draw(st.integers(0, 3)):
            comment = f"# c{next(self._count)}"
            if key:
                self.behind[comment] = key
            return f" {comment}"
        return ""

    def _block(self, value: Any, indent: int, parent: int) -> list[str]:
        lines: list[str] = []
        items = list(value.items()) if isinstance(value, dict) else [(None, item) for item in value]
        if isinstance(value, dict):
            items = self._draw(st.permutations(items))
        for key, item in items:
            lines += self._above(self._draw(st.sampled_from([indent, indent, parent])))
            lines += self._entry(key, item, indent)
        return [*lines, *self._above(indent)]

    def _entry(self, key: str | None, item: Any, indent: int) -> list[str]:
        pad = " " * indent
        head = f"{pad}-" if key is None else f"{pad}{self._scalar(key, flow=False)}:"
        nested = isinstance(item, dict | list) and item
        if nested and (self._deep(item) or self._coin()):
            step = self._draw(st.integers(0 if key is not None and isinstance(item, list) else 1, 4))
            return [head + self._behind(key or ""), *self._block(item, indent + step, indent)]
        if nested and key is None and isinstance(item, dict) and self._coin():
            lines = self._block(item, indent + 2, indent)
            first = next(index for index, line in enumerate(lines) if line.strip() and not line.strip().startswith("#"))
            above = [pad + line.strip() if line else "" for line in lines[:first]]
            return [*above, f"{pad}- {lines[first].strip()}", *lines[first + 1 :]]
        if isinstance(item, str) and "\n" not in item and item and self._coin() and not self._draw(st.integers(0, 2)):
            sign = self._draw(st.sampled_from([">-", "|-", ">2-", "|+"][: 3 if "\n" not in item else 4]))
            if sign != "|+" and not item.startswith(" "):
                return [f"{head} {sign}{self._behind()}", f"{pad}  {item}"]
        if nested and self._coin():
            return [f"{head} {self._broken(item, indent + 1)}{self._behind()}"]
        return [f"{head} {self._flow(item)}{self._behind(key or '')}"]

    def _deep(self, value: Any) -> bool:
        return len(json.dumps(value)) > 300

    def _broken(self, value: Any, indent: int) -> str:
        """In braces over several lines, with comments between them."""
        pad = "\n" + " " * indent
        parts = []
        items = value.items() if isinstance(value, dict) else [(None, item) for item in value]
        for key, item in items:
            text = f"{self._scalar(key, flow=True)}: " if key is not None else ""
            alone = "".join(f"{pad}{line.strip()}" for line in self._above(indent) if line)
            parts.append(f"{alone}{pad}{text}{self._flow(item)},{self._behind()}")
        inside = "".join(parts)
        return f"{{{inside}{pad}}}" if isinstance(value, dict) else f"[{inside}{pad}]"

    def _flow(self, value: Any) -> str:
        if isinstance(value, dict):
            pairs = (f"{self._scalar(key, flow=True)}: {self._flow(item)}" for key, item in value.items())
            return "{" + self._draw(st.sampled_from([", ", ",  "])).join(pairs) + "}"
        if isinstance(value, list):
            return (
                "["
                + ", ".join(self._flow(item) for item in value)
                + self._draw(st.sampled_from(["", ","])) * bool(value)
                + "]"
            )
        return self._scalar(value, flow=True)

    def _scalar(self, value: Any, *, flow: bool) -> str:
        if not isinstance(value, str):
            return json.dumps(value)
        style = self._draw(st.sampled_from([None, "'", '"']))
        if style is None and (flow or re.search(r"[{}\[\],#:?]", value)):
            style = '"'
        return yaml.dump(value, default_style=style, width=10_000, allow_unicode=True).removesuffix("\n...\n").strip()


@given(data=st.data(), chosen=st.lists(st.sampled_from(DOCUMENTS), min_size=1, max_size=2))
def test_any_layout_becomes_one_form_that_says_the_same(data: Any, chosen: list[Any]) -> None:
    writers = [Writer(data.draw) for _ in chosen]
    text = "---\n".join(writer.document(document.value) for writer, document in zip(writers, chosen, strict=True))
    files = Files.of([Source.of(Path("x.yaml"), text)])
    assert [document.value for document in files.documents] == [document.value for document in chosen], text
    result = form(text)
    assert form(result) == result, "the form of a form is itself"
    after = Files.of([Source.of(Path("x.yaml"), result)]).documents
    for document, original in zip(after, chosen, strict=True):
        model = KINDS[kind_of(original)]
        assert validated(document, model) == validated(original, model)
    assert said(result) == said(text)
    if len(writers) == 1:
        lines = {found[0]: line for line in result.split("\n") if (found := re.search(r"# c\d+$", line))}
        for comment, key in writers[0].behind.items():
            assert f"{key}:" in lines[comment].replace('"', "").replace("'", ""), (comment, result)


def test_fields_are_ordered_and_their_comments_move_along() -> None:
    text = """\
# what the file is

# what the rules are
spec:
    # about the rules
    rules:

      # the first
      - action: {precision: down} # do
        # when it is so
        when: "queue_length > 5"
        name: 'one'
        # the end of one
    # about the model
    model:  digits   # which
metadata: {name: x}
kind: Policy
apiVersion: sloctl/v1
"""
    assert (
        form(text)
        == """\
# what the file is

apiVersion: sloctl/v1
kind: Policy
metadata: {name: x}
# what the rules are
spec:
  # about the model
  model: digits # which
  # about the rules
  rules:
  # the first
  - name: one
    # when it is so
    when: queue_length > 5
    action: {precision: down} # do
    # the end of one
"""
    )


HEAD = """\
apiVersion: sloctl/v1
kind: ServiceLevel
metadata:
  name: x
  annotations:
"""
REST = "spec: {objectives: [{name: a, sli: success, target: 99%}]}\n"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("'plain text'", "plain text"),
        ('"plain text"', "plain text"),
        ("'5'", '"5"'),
        ("'yes'", '"yes"'),
        ('"1e3"', '"1e3"'),
        ("'2026-01-01'", '"2026-01-01"'),
        ("'a: b'", '"a: b"'),
        ("""'say "x"'""", 'say "x"'),
        ("""'"x": y'""", """'"x": y'"""),
        ("'back\\slash'", "back\\slash"),
        ('"tab\\t"', '"tab\\t"'),
        ("'it''s'", "it's"),
        ("' edge'", '" edge"'),
        ("''", '""'),
        ("'a #b'", '"a #b"'),
        ("'{{ x }}'", '"{{ x }}"'),
        ("one\n      two", "one two"),
        ("'one\n    two'", "one two"),
        ("'one\n\n    two'", '"one\\ntwo"'),
        ("|\n        one\n          two", "|\n      one\n        two"),
        ("|-  # why\n     one\n\n     two", "|- # why\n      one\n\n      two"),
        (">+\n     one\n", ">+\n      one\n"),
        ("|4\n         deep", "|2\n       deep"),
        ("|", '""'),
    ],
)
def test_quotes_and_blocks(written: str, expected: str) -> None:
    assert form(f"{HEAD}    note: {written}\n{REST}") == f"{HEAD}    note: {expected}\n{REST}"


@pytest.mark.parametrize(("written", "expected"), [("60s", "1m"), ("'90m'", "1h30m"), ("24h", "1d"), ("1w", "7d")])
def test_durations_take_their_shortest_form(written: str, expected: str) -> None:
    text = "apiVersion: sloctl/v1\nkind: AlertWindows\nmetadata: {name: x}\nspec:\n  period: 30d\n  windows:\n"
    pair = "  - {{name: a, severity: page, share: 1, long: {}, short: 1s}}\n"
    assert form(text + pair.format(written)) == text + pair.format(expected)


def test_what_does_not_fit_on_a_line_becomes_a_block() -> None:
    labels = {f"label-{index}": "x" * 20 for index in range(6)}
    metadata = f"metadata: {{name: x, labels: {json.dumps(labels)}}}"
    text = form(f"apiVersion: sloctl/v1\nkind: Policy\n{metadata}\nspec: {{model: m}}\n")
    assert all(len(line) <= 120 for line in text.split("\n"))
    assert "metadata:\n  name: x\n  labels:\n    label-0: xxxx" in text


def test_anchors_keep_their_order_and_their_names() -> None:
    text = """\
metadata: &m {name: x, labels: {k: v}}
kind: Service
apiVersion: openslo/v1
---
kind: SLI
metadata: {name: y}
apiVersion: openslo/v1
spec:
  ratioMetric:
    counter: true
    total: &t
      metricSource: {type: sloctl, spec: {metric: &name sloctl_requests_total}}
    good: *t
"""
    assert form(text) == text


def test_a_comment_between_documents_ends_the_first() -> None:
    one = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: a}\n"
    assert (
        form(f"# top\n---\n{one}# end of a\n--- # of b\n# b\n{one}...\n")
        == f"# top\n{one}# end of a\n---\n# of b\n# b\n{one}"
    )


def test_line_breaks_of_other_systems_and_a_mark_at_the_start() -> None:
    path_text = "\ufeffapiVersion: openslo/v1\r\nkind: Service # x\r\nmetadata: {name: a}\r\n"
    text = path_text.encode().decode("utf-8-sig")
    assert form(text) == "apiVersion: openslo/v1\nkind: Service # x\nmetadata: {name: a}\n"


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["fmt", *map(str, arguments)], input=stdin)


MESSY = "kind:   Service\napiVersion: openslo/v1\nmetadata: {name: a} # b\n"
TIDY = "apiVersion: openslo/v1\nkind: Service\nmetadata: {name: a} # b\n"


def test_a_file_is_replaced_with_its_mode_through_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a.yaml", tmp_path / "link.yaml"
    path.write_text(MESSY)
    path.chmod(0o640)
    link.symlink_to(path)
    result = run(link)
    assert (result.exit_code, path.read_text(), path.stat().st_mode & 0o777) == (0, TIDY, 0o640)
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [path, link]
    assert run(path, "--check").exit_code == 0


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_nothing_is_written_where_it_is_only_asked(tmp_path: Path, option: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(MESSY)
    result = run(path, option)
    assert path.read_text() == MESSY
    assert result.exit_code == (1 if option == "--check" else 0)
    shown = f"{path} is in another form" if option == "--check" else "-kind:   Service\n"
    assert shown in result.output


def test_a_broken_file_stays_and_its_errors_are_shown(tmp_path: Path) -> None:
    path, fine = tmp_path / "a.yaml", tmp_path / "b.yaml"
    path.write_text(MESSY.replace("name: a", "nmae: a"))
    fine.write_text(MESSY)
    result = run(path, fine)
    assert result.exit_code == 1
    assert 'error[unknown-field]: unknown field "nmae"' in result.output
    assert path.read_text() == MESSY.replace("name: a", "nmae: a")
    assert fine.read_text() == TIDY


def test_a_folder_that_cannot_be_written_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(MESSY)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    result = run(path)
    assert (result.exit_code, path.read_text()) == (3, MESSY)
    assert "No space left on device" in result.output
    assert list(tmp_path.iterdir()) == [path]


def test_a_directive_is_not_dropped_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"%YAML 1.1\n---\n{MESSY}")
    result = run(path)
    assert (result.exit_code, path.read_text()) == (1, f"%YAML 1.1\n---\n{MESSY}")
    assert "stays as it is: directives" in result.output


def test_standard_input_is_for_editors() -> None:
    command = [sys.executable, "-m", "sloctl.cli.main", "fmt", "-"]
    done = subprocess.run(command, input=MESSY, capture_output=True, text=True, check=True)
    assert done.stdout == TIDY
    broken = MESSY.replace("name", "nmae")
    wrong = subprocess.run(command, input=broken, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "")
