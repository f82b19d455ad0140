"""The alerts on sloctl itself, by Prometheus' own tool."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from sloctl.config.resources import resource
from sloctl.telemetry import catalogue as c
from sloctl_exporters.nvml import NVML_METRICS

RULES = resource("rules") / "prometheus" / "sloctl.yaml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool here: apt-get install prometheus")
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.load(RULES.read_text(), yaml.CSafeLoader)["groups"] for rule in group["rules"]
]


def promtool(*arguments: str) -> str:
    done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_accepts_the_file() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", str(RULES))


@pytest.mark.parametrize("alert", [pytest.param(a, id=a["alert"]) for a in ALERTS])
def test_an_alert_names_metrics_that_exist_and_says_what_to_do(alert: dict[str, Any]) -> None:
    known = {m.name for m in (*c.all_metrics(), *NVML_METRICS)} | {"up"}
    lexed = promql_parser.parse(alert["expr"]).prettify()
    named = {word for word in known if f"{word}{{" in lexed or f"{word} " in lexed or f"{word}[" in lexed}
    assert named
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")


def firing(name: str, at: str, **labels: str) -> dict[str, Any]:
    """A case: the alert fires at that time, with these labels."""
    alert = next(a for a in ALERTS if a["alert"] == name)
    context = dict(labels)

    def filled(text: str) -> str:
        for label, value in context.items():
            text = text.replace(f"{{{{ $labels.{label} }}}}", value)
        return text

    annotations = {key: filled(text) for key, text in alert["annotations"].items()}
    expected = {"exp_labels": labels | alert["labels"], "exp_annotations": annotations}
    return {"eval_time": at, "alertname": name, "exp_alerts": [expected]}


def quiet(name: str, at: str) -> dict[str, Any]:
    return {"eval_time": at, "alertname": name, "exp_alerts": []}


@needs_promtool
@pytest.mark.parametrize(
    ("series", "values", "cases"),
    [
        pytest.param(
            'up{job="sloctl", instance="a"}',
            "1 0x20",
            [quiet("SloctlDown", "45s"), firing("SloctlDown", "2m", job="sloctl", instance="a")],
            id="one failed scrape is forgiven, a minute of them is not",
        ),
        pytest.param(
            'sloctl_ready{instance="a"}',
            "1x4 0x2 1x10",
            [quiet("SloctlNotReady", "75s"), quiet("SloctlNotReady", "3m")],
            id="a short absence is forgiven",
        ),
        pytest.param(
            'sloctl_plane_restarts_total{instance="a", plane="data"}',
            "0x4 1x4 2x4 3x4 4x20",
            [
                quiet("SloctlPlaneRestarts", "2m"),
                firing("SloctlPlaneRestarts", "8m", instance="a", plane="data"),
                quiet("SloctlPlaneRestarts", "1h"),
            ],
            id="restarts in a row",
        ),
        pytest.param(
            'sloctl_breaker_state{instance="a", model="digits", state="closed"}',
            "1x40",
            [quiet("SloctlBreakerOpen", "5m")],
            id="a closed breaker is no news",
        ),
        pytest.param(
            'sloctl_layer_drift_ratio{instance="a", model="digits", variant="fp16", layer="conv1"}',
            "1x10 1.4x20 1.1x10 1.4x60",
            [
                quiet("SloctlLayerDrift", "9m"),
                firing("SloctlLayerDrift", "24m", instance="a", model="digits", variant="fp16", layer="conv1"),
            ],
            id="a layer that stays slower, not one that was for a while",
        ),
        pytest.param(
            'sloctl_gpus_present{instance="a"}',
            "8x20 7x40",
            [quiet("SloctlGpuMissing", "5m"), firing("SloctlGpuMissing", "10m", instance="a")],
            id="one of eight GPUs falls off the bus",
        ),
        pytest.param(
            'sloctl_gpus_present{instance="a"}',
            "0x60",
            [quiet("SloctlGpuMissing", "10m")],
            id="a machine without GPUs misses none",
        ),
        pytest.param(
            'sloctl_gpu_xid_last_timestamp_seconds{instance="a", gpu="3", xid="79", kind="critical"}',
            "_x8 120x80",
            [
                quiet("SloctlGpuXid", "1m"),
                firing("SloctlGpuXid", "5m", instance="a", gpu="3", xid="79", kind="critical"),
                quiet("SloctlGpuXid", "15m"),
            ],
            id="a GPU falls off the bus with an XID",
        ),
        pytest.param(
            'sloctl_gpu_xid_last_timestamp_seconds{instance="a", gpu="3", xid="31", kind="application"}',
            "120x80",
            [quiet("SloctlGpuXid", "5m")],
            id="a program's own fault pages nobody",
        ),
    ],
)
def test_alerts_fire_when_they_should(tmp_path: Path, series: str, values: str, cases: list[dict[str, Any]]) -> None:
    document = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": series, "values": values}],
                "alert_rule_test": cases,
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.dump(document))
    promtool("test", "rules", str(path))
