"""The compose file and what it mounts. No container is run here: what each would see is laid out in folders."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running_daemon import SLOCTL
from running_monitoring import AMTOOL, PROMTOOL, needs_alertmanager, needs_prometheus

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "stack"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def read(path):
    return yaml.safe_load(Path(path).read_text())


def mounts(service):
    """(source, target) of each volume; sources that are paths are absolute."""
    for each in SERVICES[service].get("volumes", ()):
        source, target = each.split(":")[:2]
        yield (FOLDER / source).resolve() if source.startswith(".") else source, target


def checked(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def container(tmp_path):
    """What a service sees: its mounts below a folder, with the shared volume beside it."""
    shared = tmp_path / "shared"
    (shared / "rules").mkdir(parents=True)
    (shared / "token").write_text("t\n")

    def laid_out(service):
        root = tmp_path / service
        for source, target in mounts(service):
            place = root / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if not isinstance(source, Path):
                continue
            if source.is_dir():
                shutil.copytree(source, place)
            else:
                place.write_text(source.read_text().replace("/shared", str(shared)))
        return root

    return laid_out


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_mounts_waits_for_and_opens(service):
    described = SERVICES[service]
    for source, target in mounts(service):
        assert target.startswith("/")
        assert source.exists() if isinstance(source, Path) else source in COMPOSE["volumes"], source
    assert set(described.get("depends_on", {})) <= set(SERVICES)
    assert all(port.startswith("127.0.0.1:") for port in described.get("ports", ())), "nothing is open to the network"
    assert "build" in described or described["image"].count(":") == 1, "the version is named"


def test_the_image_is_made_of_what_is_there():
    build = SERVICES["sloctl"]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    text = (ROOT / build["dockerfile"]).read_text()
    assert (ROOT / build["dockerfile"]).with_name("Dockerfile.dockerignore").exists()
    for named in ("requirements.lock", "examples/stack/prepare.sh"):
        assert named in text
        assert (ROOT / named).exists()


def test_addresses_are_those_of_the_services():
    prometheus, alertmanager = read(FOLDER / "prometheus.yml"), read(FOLDER / "alertmanager.yml")
    assert prometheus["scrape_configs"][0]["static_configs"] == [{"targets": ["sloctl:8002"]}]
    assert prometheus["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["alertmanager:9093"]}]}]
    hooks = [hook["url"] for each in alertmanager["receivers"] for hook in each.get("webhook_configs", [])]
    assert hooks == ["http://sloctl:8002/api/v1/alerts"]
    assert read(FOLDER / "sloctl.yaml")["alerts"]["alertmanagers"][0]["url"] == "http://alertmanager:9093"
    assert {"sloctl", "prometheus", "alertmanager"} <= set(SERVICES)


def test_copies_say_what_the_originals_say():
    ours, shipped = read(FOLDER / "alertmanager.yml"), read(ROOT / "rules/alertmanager/alertmanager.yml")
    for part in ("templates", "route", "inhibit_rules"):
        assert ours[part] == shipped[part]
    ours, shipped = read(FOLDER / "sloctl.yaml"), read(ROOT / "examples/digits/sloctl.yaml")
    (model,), (original,) = ours["models"], shipped["models"]
    assert model.items() <= original.items()
    (ours,), (shipped,) = (
        read(path)["datasources"]
        for path in (FOLDER / "datasource.yaml", ROOT / "grafana/provisioning/datasources/sloctl.yaml")
    )
    assert {**shipped, "url": ours["url"], "jsonData": ours["jsonData"]} == ours
    assert ours["url"] == "http://prometheus:9090"


def test_grafana_finds_the_dashboards_where_its_provisioning_looks():
    (provider,) = read(ROOT / "grafana/provisioning/dashboards/sloctl.yaml")["providers"]
    assert provider["options"]["path"] in {target for _, target in mounts("grafana")}


@needs_prometheus
def test_prometheus_takes_what_it_sees(container):
    root = container("prometheus")
    said = checked(PROMTOOL, "check", "config", str(root / "etc/prometheus/prometheus.yml"))
    assert "sloctl.yaml" in said
    assert "watchdog.yaml" in said


@needs_alertmanager
def test_alertmanager_takes_what_it_sees(container):
    said = checked(AMTOOL, "check-config", str(container("alertmanager") / "etc/alertmanager/alertmanager.yml"))
    assert "1 templates" in said


def test_the_daemon_takes_what_it_sees(container):
    checked(*SLOCTL, "validate", "-c", str(container("sloctl") / "etc/sloctl/sloctl.yaml"))


@pytest.mark.slow
@needs_prometheus
@pytest.mark.timeout(240)
def test_what_is_prepared_is_what_the_others_need(container, tmp_path):
    shared, config = tmp_path / "shared", container("prepare") / "etc/sloctl"
    (shared / "token").write_text("")
    command = ["sh", str(FOLDER / "prepare.sh"), str(shared), str(ROOT), str(config)]
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    for _ in range(2):  # the second time finds all there
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200, env=path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "building" not in done.stdout
    assert len((shared / "token").read_text().strip()) >= 40
    assert stat.S_IMODE((shared / "token").stat().st_mode) & stat.S_IROTH, "Alertmanager's user reads it"
    assert "rules found" in checked(PROMTOOL, "check", "rules", str(shared / "rules" / "slo.yaml"))
    checked(*SLOCTL, "validate", "-c", str(container("sloctl") / "etc/sloctl/sloctl.yaml"))
    for variant in read(FOLDER / "sloctl.yaml")["models"][0]["variants"]:
        assert (shared / "repository" / "digits" / variant / "manifest.yaml").exists()
