"""Dashboards against Grafana's published JSON schemas, where a copy of them is at hand.

The schemas are in `jsonschema/` of https://github.com/grafana/grafana-foundation-sdk, which is too much to carry along:
`GRAFANA_SCHEMAS=…/grafana-foundation-sdk/jsonschema pytest tests/exporters/test_dashboards_schema.py`.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sloctl_exporters import grafana

FOLDER = os.environ.get("GRAFANA_SCHEMAS")
pytestmark = pytest.mark.skipif(FOLDER is None, reason="GRAFANA_SCHEMAS names no copy of Grafana's JSON schemas")
# What the translation from CUE to JSON Schema has made of `any`, an object, and of a choice that overlaps.
MISTRANSLATED = (("options",), ("value",), ("query",), ("cellOptions",))


def complaints(part: Any, schema: str, definition: str) -> Iterator[str]:
    definitions = json.loads((Path(str(FOLDER)) / f"{schema}.jsonschema.json").read_text())["definitions"]
    wanted = {"$ref": f"#/definitions/{definition}", "definitions": definitions}
    for error in jsonschema.Draft7Validator(wanted).iter_errors(part):
        if tuple(error.absolute_path)[-1:] not in MISTRANSLATED:
            yield f"{definition} {list(error.absolute_path)}: {error.message}"


def of_panel(panel: dict[str, Any]) -> Iterator[str]:
    if panel["type"] == "row":
        yield from complaints(panel, "dashboard", "RowPanel")
        return
    kind = panel["type"].replace("-", "")
    yield from complaints(panel, "dashboard", "Panel")
    yield from complaints(panel["options"], kind, "Options")
    if custom := panel["fieldConfig"]["defaults"]["custom"]:
        yield from complaints(custom, kind, "FieldConfig")
    for target in panel["targets"]:
        yield from complaints(target, "prometheus", "Dataquery")


@pytest.mark.parametrize("board", grafana.dashboards(), ids=lambda board: board["uid"])
def test_a_dashboard_is_as_grafanas_schemas_want_it(board: dict[str, Any]) -> None:
    assert list(complaints(board | {"panels": []}, "dashboard", "Dashboard")) == []
    assert [(panel["title"], each) for panel in board["panels"] for each in of_panel(panel)] == []


def test_a_dashboard_that_is_not_is_found() -> None:
    board = grafana.dashboards()[0]
    panel = board["panels"][1]
    assert list(of_panel({**panel, "options": {"colorMode": "rainbow"}}))
    assert list(complaints({**board, "graphTooltip": "much"}, "dashboard", "Dashboard"))
