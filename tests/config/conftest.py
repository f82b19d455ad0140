"""A small project on disk, right in every way, for tests to spoil."""

from pathlib import Path

import pytest

DAEMON = """\
apiVersion: sloctl/v1
kind: Daemon
slos: [slos/*.yaml]
policies: [policies/*.yaml]
models:
- name: digits
  variants: [fp32, int8]
"""

SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: digits-latency}
spec:
  service: digits
  indicator:
    spec:
      thresholdMetric:
        metricSource:
          type: sloctl
          spec:
            metric: sloctl_request_duration_seconds
            labels: {model: digits}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives:
  - {op: lte, value: 0.0123, target: 0.99}
"""

POLICY = """\
apiVersion: sloctl/v1
kind: Policy
metadata: {name: digits}
spec:
  model: digits
  ladder: [fp32, int8]
  rules:
  - name: step-down
    when: burn_rate("digits-latency", "5m") > 14.4
    for: 2s
    action: {precision: down}
"""


class ProjectFolder:
    """The folder and its three files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.daemon = self.write("sloctl.yaml", DAEMON)
        self.slo = self.write("slos/latency.yaml", SLO)
        self.policy = self.write("policies/digits.yaml", POLICY)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def spoil(self, path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    """The right project."""
    return ProjectFolder(tmp_path)
