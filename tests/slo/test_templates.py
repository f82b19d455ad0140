"""Templates print as Prometheus prints them."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sloctl.slo.templates import rendered

VALUES = (0.0, 0.5, 1.0, 12.345, 59.9, 60.0, 3661.0, 90_061.0, 1_234_567.0, 0.000_12, -75.0)
TEXT = (
    "{{ $labels.model }} {{$labels.none}}| {{ $value | humanize }} {{ $value | humanizeDuration }} "
    '{{$value | humanizePercentage}} {{ "{{" }} x }}'
)


def test_what_it_does_not_know_is_left_as_it_is() -> None:
    assert rendered("{{ with query `up` }}{{ $value | unknown }}", {}, 1.0) == (
        "{{ with query `up` }}{{ $value | unknown }}"
    )


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
def test_every_function_prints_what_promtool_prints(tmp_path: Path) -> None:
    rule = {"alert": "A", "expr": "x != NaN", "annotations": {"text": TEXT}}
    cases = []
    for number, value in enumerate(VALUES):
        labels = {"model": "m", "n": str(number)}
        cases.append({"exp_labels": labels, "exp_annotations": {"text": rendered(TEXT, labels, value)}})
    series = [
        {"series": f'x{{model="m", n="{number}"}}', "values": f"{value!r}x2"} for number, value in enumerate(VALUES)
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))
    test = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": "1m", "alertname": "A", "exp_alerts": cases}],
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
