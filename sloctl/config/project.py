"""A daemon with all that belongs to it: its configuration, SLOs, policies, alerting windows."""

import glob
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sloctl.config.checks import (
    Accuracies,
    Loaded,
    check_alertmanagers,
    check_bounds,
    check_daemon,
    check_devices,
    check_prometheus,
)
from sloctl.config.daemon import DaemonConfig
from sloctl.config.documents import Bundle, Files, bundle_of, load_bundle, load_daemon
from sloctl.config.problems import Code, Problem, arranged, require
from sloctl.config.runtime import Runtime
from sloctl.config.sources import Loc, Source
from sloctl.slo.objective import latency_objective, thresholds

Measured = Callable[[DaemonConfig, Path], Accuracies]
"""Reads what the repository's manifests measured; `Path` is the folder of the daemon's configuration."""


@dataclass(frozen=True)
class Project:
    """A configuration without problems."""

    daemon: DaemonConfig
    path: Path
    bundle: Bundle
    runtime: Runtime

    def texts(self) -> dict[str, str]:
        """SLO, policy and window files as they were read: file name to text, for `load_bundle_texts`."""
        return self.bundle.texts()


def load_project(path: Path) -> Project:
    """Reads a daemon's configuration and every file that it names. Raises ConfigError with all problems."""
    daemon, bundle, problems = examine(path)
    require(problems)
    if daemon is None or bundle is None:  # there would have been a problem
        raise AssertionError(path)
    found = {model.name: latency_objective(bundle.objectives, model.name) for model in daemon.model.models}
    targets = {name: seconds for name, seconds in found.items() if seconds is not None}
    runtime = Runtime.resolve(daemon.model, path, thresholds(bundle.objectives), targets)
    return Project(daemon.model, runtime.path, bundle, runtime)


def examine(
    path: Path, extra: Sequence[Path] = (), measured: Measured | None = None
) -> tuple[Loaded[DaemonConfig] | None, Bundle | None, tuple[Problem, ...]]:
    """All problems of a daemon's configuration, its files and `extra` ones held against it.

    `measured` reads the accuracies that accuracy floors are held against; without it they are not.
    """
    daemon, problems = load_daemon(path)
    if daemon is None:
        bundle = load_bundle(extra) if extra else None
        return None, bundle, arranged([*problems, *(bundle.problems if bundle else ())])
    found = list(_files(daemon.model, path.parent))
    problems += check_daemon(daemon)
    problems += check_prometheus(daemon)
    problems += check_devices(daemon)
    problems += check_alertmanagers(daemon)
    problems += [daemon.document.problem(loc, Code.NO_SUCH_FILE, *why) for loc, _, why in found if why]
    paths = [file for _, files, _ in found for file in files]
    accuracies = measured(daemon.model, path.parent) if measured else None
    bundle = load_bundle([*paths, *extra], daemon.model, accuracies)
    return daemon, bundle, arranged([*problems, *bundle.problems])


def reload_bundle(runtime: Runtime) -> Bundle:
    """Reads SLOs, policies and windows anew for a running daemon. Raises ConfigError; then nothing changes."""
    found = list(_files(runtime.daemon, runtime.path.parent))
    missing = [Problem(runtime.path, 0, 0, Code.NO_SUCH_FILE, *why, field=str(loc[0])) for loc, _, why in found if why]
    bundle = load_bundle([file for _, files, _ in found for file in files], runtime.daemon)
    return _accepted(bundle, runtime, missing)


def load_bundle_texts(texts: Mapping[str, str], runtime: Runtime) -> Bundle:
    """The bundle of files that were read before, without touching the disk. Raises ConfigError."""
    files = Files.of(Source.of(Path(name), text) for name, text in texts.items())
    return _accepted(bundle_of(files, runtime.daemon), runtime, ())


def _accepted(bundle: Bundle, runtime: Runtime, problems: Iterable[Problem]) -> Bundle:
    require([*problems, *bundle.problems, *check_bounds(bundle.slo_documents, runtime.topology)])
    return bundle


def _files(daemon: DaemonConfig, folder: Path) -> Iterator[tuple[Loc, list[Path], tuple[str, str] | None]]:
    """For each file or glob that the daemon names: its field, its files, and what is wrong if there are none."""
    named: list[tuple[Loc, str]] = [(("slos", i), pattern) for i, pattern in enumerate(daemon.slos)]
    named += [(("policies", i), pattern) for i, pattern in enumerate(daemon.policies)]
    named += [(("windows",), daemon.windows)] if daemon.windows is not None else []
    for loc, pattern in named:
        files = _matches(pattern, folder)
        what = "matches no file" if glob.has_magic(pattern) else "is not a file"
        expected = f"an existing file, or a glob such as {loc[0]}/*.yaml, relative to {folder or '.'}/"
        yield loc, files, None if files else (f'"{pattern}" {what}', expected)


def _matches(pattern: str, folder: Path) -> list[Path]:
    try:
        names = sorted(glob.glob(pattern, root_dir=folder, recursive=True)) if glob.has_magic(pattern) else [pattern]
        return [folder / name for name in names if (folder / name).is_file()]
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return []
