"""What several tests of the exporters share."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load(name: str) -> ModuleType:
    """A helper module of this folder (the test folders are no packages)."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def fake_nvml() -> ModuleType:
    return load("fake_nvml")


@pytest.fixture(scope="session")
def dashboard_queries() -> ModuleType:
    return load("dashboard_queries")


@pytest.fixture(scope="session")
def collector_module() -> ModuleType:
    return load("collector")


@pytest.fixture(scope="session")
def living_board() -> ModuleType:
    return load("living_board")
