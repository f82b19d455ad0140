"""The resolved configuration that the supervisor hands to the planes, as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sloctl.board.topology import ModelTopology, Topology
from sloctl.config.daemon import DaemonConfig
from sloctl.telemetry.buckets import duration_bounds, exported_bounds


@dataclass(frozen=True, slots=True)
class Runtime:
    """A validated daemon configuration with everything that both planes must agree on.

    `path` is the configuration file, absolute; relative paths in it are relative to its folder.
    """

    daemon: DaemonConfig
    path: Path
    topology: Topology

    @classmethod
    def resolve(
        cls, daemon: DaemonConfig, path: Path, thresholds: tuple[float, ...], targets: Mapping[str, float] | None = None
    ) -> "Runtime":
        """Builds the topology; `thresholds` are the SLOs' latency thresholds in seconds, `targets` those by model that
        admission keeps to.
        """
        daemon = _targeted(daemon, targets or {})
        topology = Topology(
            models=tuple(ModelTopology(model.name, model.names) for model in daemon.models),
            priorities=tuple(daemon.priorities),
            bounds=duration_bounds(thresholds),
            exported=exported_bounds(thresholds),
            layers=max(model.profile.top_layers for model in daemon.models) + 1,
            tenants=daemon.tenants.labels if daemon.tenants else (),
        )
        return cls(daemon, path.resolve(), topology)

    @property
    def repository(self) -> Path:
        """Folder of the models: `<repository>/<model>/<variant>/`."""
        return self.path.parent / self.daemon.repository

    @property
    def state_dir(self) -> Path:
        """Folder of the daemon's state."""
        return self.path.parent / self.daemon.state_dir

    def to_json(self) -> str:
        """What `from_json` reads back."""
        return json.dumps(
            {
                "daemon": self.daemon.model_dump(mode="json", by_alias=True),
                "path": str(self.path),
                "topology": self.topology.as_dict(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Runtime":
        """Reads what `to_json` wrote."""
        raw = json.loads(text)
        daemon = DaemonConfig.model_validate(raw["daemon"])
        return cls(daemon, Path(raw["path"]), Topology.from_dict(raw["topology"]))


def _targeted(daemon: DaemonConfig, targets: Mapping[str, float]) -> DaemonConfig:
    """With the objective's threshold in the place of the word `objective`, or `off` where there is none."""
    models = []
    for model in daemon.models:
        admission = model.admission
        if admission.target == "objective":
            admission = admission.model_copy(update={"target": targets.get(model.name, "off")})
        models.append(model.model_copy(update={"admission": admission}))
    return daemon.model_copy(update={"models": models})
