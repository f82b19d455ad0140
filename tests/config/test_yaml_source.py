"""Reading YAML: bounds, places, and that no bytes whatever make it raise."""

import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sloctl.config.problems import Code, Problem
from sloctl.config.sources import MAX_BYTES, Document, Source, read
from sloctl.config.yaml_source import parse

PATH = Path("bad.yaml")


def problems_of(text: str) -> list[Problem]:
    return parse(Source.of(PATH, text))[1]


def document_of(text: str) -> Document:
    documents, problems = parse(Source.of(PATH, text))
    assert problems == []
    (document,) = documents
    return document


LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))

BAD = {
    "sixty-five flow sequences": ("[" * 65, 1, 65, Code.YAML_TOO_DEEP, "nested more than 64 levels deep"),
    "a hundred thousand flow sequences": ("[" * 100_000, 1, 65, Code.YAML_TOO_DEEP, "nested more than 64 levels"),
    "block sequences on one line": ("- " * 500 + "a", 1, 129, Code.YAML_TOO_DEEP, "nested more than 64 levels deep"),
    "an alias that contains itself": ("a: &a [*a]", 1, 4, Code.YAML_TOO_DEEP, "nested more than 64 levels deep"),
    "a billion laughs": (LAUGHS, 6, 1, Code.YAML_TOO_BIG, "more than 100000 values"),
    "a long text a hundred thousand times": (
        f"a: &a {'x' * 1000}\nb: [{', '.join(['*a'] * 5000)}]",
        2,
        1,
        Code.YAML_TOO_BIG,
        "4 MiB of text",
    ),
    "a key twice": (
        "a:\n  x: 1\n  y: 2\n  x: 3\n",
        4,
        3,
        Code.YAML_DUPLICATE_KEY,
        '"x" is given twice; the first is at line 2, column 3',
    ),
    "a key twice in flow style": ("{k: 1, k: 2}", 1, 8, Code.YAML_DUPLICATE_KEY, "the first is at line 1, column 2"),
    "a key twice, once quoted": ('k: 1\n"k": 2', 2, 1, Code.YAML_DUPLICATE_KEY, '"k" is given twice'),
    "a tab as indentation": ("a:\n\tb: 1\n", 2, 1, Code.YAML_TAB, "a tab where YAML wants spaces"),
    "a tab after spaces": ("a:\n  b: 1\n  \tc: 2\n", 3, 3, Code.YAML_TAB, "a tab where YAML wants spaces"),
    "an unclosed bracket": ("a: [1, 2\n", 1, 4, Code.YAML_SYNTAX, "while parsing a flow sequence of line 1"),
    "an unclosed quote": ('a: "b\n', 1, 4, Code.YAML_SYNTAX, "found unexpected end of stream"),
    "a colon within a value": ("a: b: c\n", 1, 5, Code.YAML_SYNTAX, "mapping values are not allowed"),
    "an undefined alias": ("a: *b\n", 1, 4, Code.YAML_SYNTAX, "found undefined alias"),
    "a value that begins with @": ("a: @b\n", 1, 4, Code.YAML_SYNTAX, "cannot start any token"),
    "an error in the second document": ("a: 1\n---\n}\n", 3, 1, Code.YAML_SYNTAX, "not valid YAML"),
    "a control character": ("a: 1\nb: \x07\n", 2, 4, Code.YAML_CHARACTER, "U+0007"),
    "a Python object": ("a: !!python/object:os.system x", 1, 4, Code.YAML_TAG, "the tag !!python/object:os.system"),
    "a tag of one's own on a mapping": ("a: !x {b: 1}", 1, 4, Code.YAML_TAG, "the tag !x is not supported"),
    "a number that is none": ("a: !!int x", 1, 4, Code.YAML_TAG, "not a number"),
    "a number of ten thousand digits": ("a: " + "9" * 10_000, 1, 4, Code.YAML_TAG, "not a number that can be read"),
    "a mapping as a key": ("? {a: 1}\n: 2", 1, 3, Code.YAML_KEY, "a key that is a list or a mapping"),
    "a merge key": ("a: &a {x: 1}\nb:\n  <<: *a\n", 3, 3, Code.YAML_KEY, "merge keys (<<) are not supported"),
    "nothing": ("", 1, 1, Code.FILE_EMPTY, "holds no document"),
    "only comments": ("# nothing\n---\n# yet\n", 1, 1, Code.FILE_EMPTY, "holds no document"),
}


@pytest.mark.parametrize(("text", "line", "column", "code", "message"), BAD.values(), ids=BAD)
def test_bad_yaml_is_one_problem_at_its_place(text: str, line: int, column: int, code: Code, message: str) -> None:
    start = time.perf_counter()
    (problem,) = problems_of(text)
    assert (problem.line, problem.column, problem.code) == (line, column, code)
    assert message in problem.message
    assert problem.expected
    assert time.perf_counter() - start < 5  # none of them may hang; an absurdly wide margin


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"a: \xff\n", Code.FILE_NOT_UTF8, 1),
        (b"a: 1\nb: \xe4\n", Code.FILE_NOT_UTF8, 2),
        ("a: 1".encode("utf-16"), Code.FILE_NOT_UTF8, 1),
        (b"#" * (MAX_BYTES + 1), Code.FILE_TOO_LARGE, 0),
    ],
    ids=["a stray byte", "Latin-1 on line 2", "UTF-16", "a byte over 1 MiB"],
)
def test_bad_bytes_are_refused(tmp_path: Path, content: bytes, code: Code, line: int) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    source, (problem,) = read(path)
    assert source is None
    assert (problem.code, problem.line) == (code, line)


@pytest.mark.parametrize("name", ["missing.yaml", ".", "nul\0.yaml"], ids=["no file", "a folder", "a NUL in its name"])
def test_what_cannot_be_opened_is_a_problem(tmp_path: Path, name: str) -> None:
    source, (problem,) = read(tmp_path / name)
    assert source is None
    assert problem.code is Code.FILE_UNREADABLE


def test_a_file_of_exactly_one_mebibyte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1 #".ljust(MAX_BYTES, b"#"))
    source, problems = read(path)
    assert problems == []
    assert source is not None


def test_a_byte_order_mark_does_not_shift_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\na: 2\n")
    source, _ = read(path)
    assert source is not None
    (problem,) = parse(source)[1]
    assert (problem.line, problem.column) == (2, 1)


def test_values_are_plain_and_dates_stay_text() -> None:
    text = "a: [1, 1.5, yes, ~, 2026-01-01, '2', 0x10]\n1: x\non: y\n=: z"
    expected = {"a": [1, 1.5, True, None, "2026-01-01", "2", 16], "1": "x", "on": "y", "=": "z"}
    assert document_of(text).value == expected


def test_sixty_four_levels_are_accepted() -> None:
    value = document_of("[" * 64 + "]" * 64).value
    for _ in range(63):
        (value,) = value
    assert value == []


def test_aliases_in_measure_are_expanded() -> None:
    document = document_of("a: &a {x: 1}\nb: [*a, *a]")
    assert document.value["b"] == [{"x": 1}, {"x": 1}]
    assert document.spots["b", 1, "x"].value.line == 1


def test_several_documents_keep_their_lines() -> None:
    documents, problems = parse(Source.of(PATH, "a: 1\n---\n\nb:\n  c: 2\n---\n"))
    assert problems == []
    assert [d.value for d in documents] == [{"a": 1}, {"b": {"c": 2}}]
    spot = documents[1].spots["b", "c"]
    assert (spot.key.line, spot.key.column, spot.value.column) == (5, 3, 6)


SCALARS = {
    "plain": ("when: ab cd", 4, (1, 10)),
    "in single quotes": ("when: 'ab cd'", 4, (1, 11)),
    "after a doubled single quote": ("when: 'a''b cd'", 5, (1, 13)),
    "in double quotes": ('when: "ab cd"', 4, (1, 11)),
    "after escapes in double quotes": (r'when: "\"a\" \x41 z"', 7, (1, 19)),
    "the end of the value": ("when: ab", 3, (1, 8)),
    "beyond the end": ("when: ab", 300, (1, 8)),
    "with wide characters before": ("when: äö cd", 4, (1, 10)),
    "a block, which points at its start": ("when: |\n  ab cd\n", 4, (1, 7)),
    "two lines, which point at their start": ("when: ab\n  cd\n", 4, (1, 7)),
}


@pytest.mark.parametrize(("text", "column", "place"), SCALARS.values(), ids=SCALARS)
def test_a_column_inside_a_scalar_is_found_in_the_file(text: str, column: int, place: tuple[int, int]) -> None:
    problem = document_of(text).problem(("when",), Code.INVALID_EXPRESSION, "", column=column)
    assert (problem.line, problem.column) == place


def test_a_missing_path_is_reported_at_the_key_of_its_nearest_ancestor() -> None:
    problem = document_of("a:\n  b:\n    c: 1\n").problem(("a", "b", "x", 3), Code.MISSING_FIELD, "")
    assert (problem.line, problem.column, problem.field) == (2, 3, "a.b.x[3]")


_yaml_like = st.text(st.sampled_from("ab1: -?[]{}&*!|>'\"%@`#,\n\t~.<=\\\x85\u2028é\x00"), max_size=60)


@given(st.one_of(st.binary(max_size=200), _yaml_like.map(str.encode)))
@settings(max_examples=400, deadline=None)
@example(b"&a [*a]")
@example(b"? - *a\n: &a")
@example(b'"\\ud800": 1')
@example(b"%YAML 9.9\n---\na")
@example(b"!!int _: 1")
@example(b"a: 1:60:99999999999999999999999.5")
@example(b"!!float x")
@example(b"!!bool x")
@example(b"!!map [a]")
@example(b"!!seq {a: 1}")
def test_any_bytes_give_documents_or_problems_in_bounds(content: bytes) -> None:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    source = Source.of(PATH, text)
    documents, problems = parse(source)
    assert documents or problems
    for problem in problems:
        assert 1 <= problem.line <= len(source.lines)
        assert problem.column >= 1
        assert problem.render()
    for document in documents:
        for loc in document.spots:
            document.get(loc)
