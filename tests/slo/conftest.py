"""Shared by the tests of the SLO core."""

from pathlib import Path

import pytest
import yaml

from sloctl.slo.windows import AlertWindow, AlertWindows

ROOT = Path(__file__).parents[2]


def read_yaml(path: str) -> object:
    return yaml.load((ROOT / path).read_text(), yaml.CSafeLoader)


@pytest.fixture
def workbook() -> tuple[AlertWindow, ...]:
    return AlertWindows.model_validate(read_yaml("rules/windows/sre-workbook.yaml")).windows()


@pytest.fixture
def demo() -> tuple[AlertWindow, ...]:
    return AlertWindows.model_validate(read_yaml("rules/windows/demo.yaml")).windows()
