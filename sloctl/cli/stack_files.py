"""The files of `sloctl stack`: the shipped ones, changed where a laptop is not production."""

import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sloctl.cli.demo_daemon import write_run
from sloctl.cli.stack_programs import Program
from sloctl.config.documents import load_bundle
from sloctl.config.resources import resource
from sloctl.slo.prometheus import to_yaml

_SCRAPE = "500ms"  # the demo's windows begin at two seconds
_RESEND = "10s"  # what fires before Prometheus has found its Alertmanager is told again so soon


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of a stack lies, and the ports on loopback that it listens on."""

    folder: Path
    serving: int
    control: int
    prometheus: int
    alertmanager: int

    @property
    def token(self) -> Path:
        """The file with the token of the daemon's API."""
        return self.folder / "token"

    @property
    def daemon(self) -> Path:
        """The daemon's folder."""
        return self.folder / "daemon"

    @property
    def serving_url(self) -> str:
        """The daemon's data plane."""
        return f"http://127.0.0.1:{self.serving}"

    @property
    def control_url(self) -> str:
        """The daemon's control plane."""
        return f"http://127.0.0.1:{self.control}"

    @property
    def prometheus_url(self) -> str:
        """Prometheus."""
        return f"http://127.0.0.1:{self.prometheus}"

    @property
    def alertmanager_url(self) -> str:
        """Alertmanager."""
        return f"http://127.0.0.1:{self.alertmanager}"


def write(places: Places, source: Path, repository: Path, paths: Mapping[str, str]) -> tuple[Program, ...]:
    """Writes all files of a stack anew, and returns what to run on them, in order.

    `source` is the example's folder, `paths` has the programs by name. What an earlier run left goes, but `repository`.
    """
    folder, port = places.folder.resolve(), "127.0.0.1:{}".format
    for left in ("prometheus", "alertmanager"):
        shutil.rmtree(folder / left, ignore_errors=True)
    config = daemon(places, source, repository)
    token(places.token)
    webhook = f"{places.control_url}/api/v1/alerts"
    routes = alertmanager(folder / "alertmanager", webhook, places.token)
    slos = [places.daemon / "slo.yaml", places.daemon / "windows.yaml"]
    rules = prometheus(folder / "prometheus", slos, {"sloctl": port(places.control)}, [port(places.alertmanager)])
    return (
        Program(
            "sloctl",
            (sys.executable, "-m", "sloctl.cli.main", "serve", "--config", str(config)),
            folder / "sloctl.log",
            f"{places.control_url}/health/ready",
        ),
        Program(
            "alertmanager",
            (
                paths["alertmanager"],
                f"--config.file={routes}",
                f"--storage.path={folder / 'alertmanager' / 'data'}",
                f"--web.listen-address={port(places.alertmanager)}",
                "--cluster.listen-address=",  # alone; by default it listens on all addresses
            ),
            folder / "alertmanager.log",
            f"{places.alertmanager_url}/-/ready",
        ),
        Program(
            "prometheus",
            (
                paths["prometheus"],
                f"--config.file={rules}",
                f"--storage.tsdb.path={folder / 'prometheus' / 'data'}",
                f"--web.listen-address={port(places.prometheus)}",
                f"--rules.alert.resend-delay={_RESEND}",
            ),
            folder / "prometheus.log",
            f"{places.prometheus_url}/-/ready",
        ),
    )


def daemon(places: Places, source: Path, repository: Path) -> Path:
    """Writes the daemon's folder: the demo's, with a token, and alerts that go to Alertmanager directly as well."""
    path = write_run(places.daemon, source, repository, controller=True)
    config = _read(path)
    config["serving"]["port"] = places.serving
    config["control"] |= {"port": places.control, "tokenFile": str(places.token.resolve())}
    config["alerts"] = {"alertmanagers": [{"url": places.alertmanager_url}]}
    return _write(path, config)


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
    folder: Path, slos: Sequence[Path], targets: Mapping[str, str], alertmanagers: Sequence[str], scrape: str = _SCRAPE
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
