"""The files of `sloctl stack`: the shipped ones, changed where a laptop is not production."""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sloctl.config.documents import load_bundle
from sloctl.config.resources import resource
from sloctl.slo.prometheus import to_yaml

SCRAPE = "500ms"  # the demo's windows begin at two seconds


def token(path: Path) -> Path:
    """A file with a new token that only this user may read."""
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(32) + "\n")
    return path


def alertmanager(folder: Path, webhook: str, token_file: Path) -> Path:
    """Writes Alertmanager's folder and returns its configuration: only the daemon, at `webhook`, is told."""
    source = resource("rules") / "alertmanager"
    config = _read(source / "alertmanager.yml")
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", []):
            hook["url"] = webhook
            hook["http_config"]["authorization"]["credentials_file"] = str(token_file.resolve())
        for foreign in [key for key in receiver if key not in {"name", "webhook_configs"}]:
            del receiver[foreign]
    shutil.copytree(source / "templates", folder / "templates", dirs_exist_ok=True)
    return _write(folder / "alertmanager.yml", config)


def prometheus(
    folder: Path, slos: Sequence[Path], targets: Mapping[str, str], alertmanagers: Sequence[str], scrape: str = SCRAPE
) -> Path:
    """Writes Prometheus' folder, with the rules of SLOs, and returns its configuration.

    `slos` are SLO files and a file of windows; `targets` are addresses by the shipped configuration's jobs.
    """
    source = resource("rules") / "prometheus"
    config = _read(source / "prometheus.yml")
    config["global"] = {"scrape_interval": scrape, "evaluation_interval": scrape}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]] if job["job_name"] in targets else []}]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": list(alertmanagers)}]}]
    (folder / "slo").mkdir(parents=True, exist_ok=True)
    for name in ("sloctl.yaml", "watchdog.yaml"):
        shutil.copyfile(source / name, folder / name)
    bundle = load_bundle(slos)
    (folder / "slo" / "slo.yaml").write_text(to_yaml(bundle.objectives, bundle.windows))
    return _write(folder / "prometheus.yml", config)


def _read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)


def _write(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path
