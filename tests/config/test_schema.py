"""The JSON Schemas: every sample fits, every spoilt one that a model refuses for its form does not."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from sloctl.cli.main import app
from sloctl.config.base import FROM_FILE
from sloctl.config.documents import KINDS, Files, kind_of
from sloctl.config.messages import validated
from sloctl.config.schema import COMBINED, names, schemas
from sloctl.config.sources import Document, Loc

ROOT = Path(__file__).parents[2]
SAMPLES = [*sorted((ROOT / "rules").rglob("*.yaml")), *sorted((ROOT / "examples").rglob("*.yaml"))]
DOCUMENTS = [document for document in Files.read(SAMPLES).documents if kind_of(document) in KINDS]
SCHEMAS = schemas()
NAMES = {kind: name for name, kind in names().items()}
COMBINED_SCHEMA = Draft202012Validator(SCHEMAS[COMBINED])
# What is wrong with the form of a field, as far as JSON Schema can say it of a value.
FORM = ("extra_forbidden", "missing", "literal_error", "string_pattern_mismatch", "_type", "less_than", "greater_than")


def title(document: Document) -> str:
    return f"{document.source.path.name}-{kind_of(document)[1]}"


def fits(document: Document, value: Any) -> bool:
    own = Draft202012Validator(SCHEMAS[NAMES[kind_of(document)]]).is_valid(value)
    assert own == COMBINED_SCHEMA.is_valid(value), "the schema of all kinds says otherwise than the kind's own"
    return own


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("document", DOCUMENTS, ids=title)
def test_every_sample_fits(document: Document) -> None:
    assert validated(document, KINDS[kind_of(document)])[0] is not None
    assert fits(document, document.value)


def test_every_kind_has_a_sample() -> None:
    assert {kind_of(document) for document in DOCUMENTS} >= set(KINDS) - {
        ("sloth.slok.dev/v1", "PrometheusServiceLevel")
    }


def spoilt(value: Any) -> Iterator[tuple[str, Any]]:
    """The value with one thing wrong, or only different, at every place."""
    for loc, inner in places(value):
        if isinstance(inner, dict):
            yield f"{loc} extra", changed(value, (*loc, "zzz"), 1)
            for key in inner:
                yield f"{loc} without {key}", changed(value, (*loc, key), None, remove=True)
        for other in (True, 5, 0.5, -1, "5", "5m", "!", [], ["x"], {}, {"x": "y"}):
            if loc:
                yield f"{loc} {other!r}", changed(value, loc, other)


def places(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    yield loc, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*loc, key))


def changed(value: Any, loc: Loc, new: Any, *, remove: bool = False) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for step in loc[:-1]:
        inner = inner[step]
    if remove:
        del inner[loc[-1]]
    else:
        inner[loc[-1]] = new
    return value


@pytest.mark.parametrize("document", DOCUMENTS, ids=title)
def test_the_schema_and_the_model_agree_on_the_form(document: Document) -> None:
    model = KINDS[kind_of(document)]
    refused = 0
    for what, value in spoilt(document.value):
        try:
            model.model_validate_json(json.dumps(value), strict=True, context=FROM_FILE)
        except ValidationError as error:
            kinds = {detail["type"] for detail in error.errors(include_url=False)}
            durations = any("expected a duration" in detail["msg"] for detail in error.errors(include_url=False))
            # A bound of a duration is beyond JSON Schema; a branch of a union may be what another one takes.
            if durations or any(
                kind.startswith(FORM) or kind.endswith("_type") for kind in kinds if "_than" not in kind
            ):
                refused += 1
                assert not fits(document, value), (what, kinds)
        else:
            assert fits(document, value), what
    assert refused > 10


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["schema", *map(str, arguments)])


def test_the_files_that_come_along_are_current() -> None:
    result = run("--out", ROOT / "rules" / "schema", "--check")
    assert result.exit_code == 0, result.output
    assert {path.stem for path in (ROOT / "rules" / "schema").glob("*")} == set(SCHEMAS)


@pytest.mark.parametrize("kind", ["daemon", "Daemon", "openslo-slo", "SLO", "sloth"])
def test_a_kind_is_printed(kind: str) -> None:
    printed = json.loads(run(kind).stdout)
    name = {"SLO": "openslo-slo"}.get(kind, kind.lower())
    assert printed == SCHEMAS[name]
    assert json.loads(run().stdout) == SCHEMAS[COMBINED]


@pytest.mark.parametrize("arguments", [("Dashboard",), ("--check",), ("Daemon", "--out", "x")])
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_files_are_written_and_held_against_what_they_should_be(tmp_path: Path) -> None:
    assert run("--out", tmp_path, "--check").exit_code == 1
    assert not list(tmp_path.iterdir())
    assert run("--out", tmp_path).exit_code == 0
    assert run("--out", tmp_path, "--check").exit_code == 0
    (tmp_path / "daemon.json").write_text("{}")
    result = run("--out", tmp_path, "--check")
    assert (result.exit_code, "daemon.json is not current" in result.output) == (1, True)


def test_fields_are_described_by_their_source() -> None:
    control = SCHEMAS["daemon"]["$defs"]["ControlConfig"]
    assert control["description"] == "The control plane's endpoint and its ticks."
    assert control["properties"]["tick"]["default"] == "250ms"
    assert "measure and export" in control["properties"]["enabled"]["description"]
    assert "exclusions" not in control["properties"]
