"""The Prometheus configuration and the alert that fires always, by Prometheus' own tool."""

import subprocess

import pytest
import yaml
from running_monitoring import PROMTOOL, needs_prometheus

from sloctl.cli import stack_files
from sloctl.config.resources import resource

pytestmark = needs_prometheus

FOLDER = resource("rules") / "prometheus"
WINDOWS = resource("rules") / "windows" / "demo.yaml"


def promtool(*arguments):
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_the_shipped_configuration():
    said = promtool("check", "config", str(FOLDER / "prometheus.yml"))
    for name in ("sloctl.yaml", "watchdog.yaml"):
        assert f"Checking {FOLDER / name}" in said, "its rules are among the rule files"


def test_its_jobs_are_those_that_the_alerts_name():
    jobs = {job["job_name"] for job in yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]}
    assert "sloctl" in jobs
    assert 'job="sloctl"' in (FOLDER / "sloctl.yaml").read_text()


def test_the_stacks_own_is_accepted_with_the_rules_of_its_slos(tmp_path):
    slos = [resource("examples/digits") / "slo.yaml", WINDOWS]
    config = stack_files.prometheus(tmp_path, slos, {"sloctl": "127.0.0.1:1"}, ["127.0.0.1:2", "127.0.0.1:3"])
    assert f"Checking {tmp_path / 'slo' / 'slo.yaml'}" in promtool("check", "config", str(config))
    made = yaml.safe_load(config.read_text())
    assert made["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:1"]}]
    assert made["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["127.0.0.1:2", "127.0.0.1:3"]}]


@pytest.mark.parametrize("at", ["0s", "1d"])
def test_the_watchdog_fires_always(tmp_path, at):
    labels = {"severity": "none"}
    rule = yaml.safe_load((FOLDER / "watchdog.yaml").read_text())["groups"][0]["rules"][0]
    expected = {"exp_labels": labels, "exp_annotations": rule["annotations"]}
    case = {"alertname": "SloctlWatchdog", "eval_time": at, "exp_alerts": [expected]}
    tests = {"rule_files": [str(FOLDER / "watchdog.yaml")], "tests": [{"interval": "1m", "alert_rule_test": [case]}]}
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump(tests))
    assert "SUCCESS" in promtool("test", "rules", str(path))
