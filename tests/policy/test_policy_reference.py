"""The reference page says what the code does."""

from pathlib import Path

import pytest

from sloctl.policy.document import PlannerSpec, PolicySpec
from sloctl.policy.facts import FACTS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "policies.md").read_text()


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.name)
def test_every_fact_is_on_the_page_with_its_type_unit_and_words(fact):
    row = next(line for line in PAGE.splitlines() if line.startswith((f"| `{fact.name}(", f"| `{fact.name}`")))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == [fact.type.value, fact.unit or "", fact.doc]


@pytest.mark.parametrize("name", [field.alias or name for name, field in PolicySpec.model_fields.items()])
def test_every_field_of_a_policy_is_on_the_page(name):
    assert f"| `{name}` |" in PAGE


@pytest.mark.parametrize("name", [field.alias or name for name, field in PlannerSpec.model_fields.items()])
def test_every_field_of_the_planner_is_on_the_page(name):
    assert f"| `planner.{name}` |" in PAGE
