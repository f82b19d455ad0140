from pathlib import Path

import pytest

from sloctl.cli.simulate import setup_of
from sloctl.config.project import load_project
from sloctl.simulate.plant import Variant

ROOT = Path(__file__).parents[2]
FP32, INT8 = Variant("fp32", 0.98, {1: 0.002}), Variant("int8", 0.97, {1: 0.001})
PLANNED = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: planned}
spec:
  model: digits
  ladder: [fp32, int8]
  accuracyFloor: 0.95
  cooldown: 5m
  planner: {objective: digits-latency}
  rules: []
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The digits example with a policy that only plans."""
    for name in ("sloctl.yaml", "slo.yaml"):
        text = (ROOT / "examples/digits" / name).read_text().replace("../../rules", str(ROOT / "rules"))
        (tmp_path / name).write_text(text)
    (tmp_path / "policy.yaml").write_text(PLANNED)
    return tmp_path


@pytest.fixture
def setup(folder: Path):
    """What of it is simulated: fp32 carries 500/s, int8 1000/s."""
    return setup_of(load_project(folder / "sloctl.yaml"), None, {"fp32": FP32, "int8": INT8})
