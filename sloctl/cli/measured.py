"""What the repository's manifests say that was measured, for commands that look at it without a daemon."""

import math
from pathlib import Path

from sloctl.config.daemon import DaemonConfig
from sloctl.engines.manifest import Manifest, ManifestError, read_manifest


def manifests(daemon: DaemonConfig, folder: Path) -> dict[str, dict[str, Manifest]]:
    """Manifests by model and variant, of models whose every variant has one that can be read.

    `folder` is that of the daemon's configuration, which `repository` is relative to.
    """
    found = {}
    for model in daemon.models:
        base = folder / daemon.repository / model.name
        try:
            found[model.name] = {variant: read_manifest(base / variant) for variant in model.names}
        except ManifestError:
            continue
    return found


def accuracies(daemon: DaemonConfig, folder: Path) -> dict[str, dict[str, float]]:
    """Measured accuracies by model and variant, NaN where none was measured."""
    return {
        model: {name: each.accuracy.value if each.accuracy else math.nan for name, each in variants.items()}
        for model, variants in manifests(daemon, folder).items()
    }
