"""Checks that need more than one document: names that must exist, and names that must be the only ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic, TypeVar

from sloctl.board.topology import Topology
from sloctl.config.base import Model
from sloctl.config.daemon import DaemonConfig, VariantConfig
from sloctl.config.devices import FORMS, is_known
from sloctl.config.messages import parted, suggestion
from sloctl.config.problems import Code, Problem
from sloctl.config.sources import Document, Loc
from sloctl.config.urls import is_loopback
from sloctl.policy import document as policy
from sloctl.policy.document import PolicyDocument
from sloctl.policy.facts import Vocabulary
from sloctl.slo import dialects, openslo
from sloctl.slo.dialects import SloModel
from sloctl.slo.evaluate import longest_window
from sloctl.slo.maintenance import Maintenance
from sloctl.slo.objective import Objective, Query, source_of, thresholds
from sloctl.slo.openslo import SloDocument
from sloctl.slo.openslo_library import Library, references
from sloctl.slo.openslo_model import SliDocument
from sloctl.slo.windows import AlertWindow, AlertWindows

Accuracies = Mapping[str, Mapping[str, float]]
"""Measured accuracies by model and variant, of models whose every variant has a manifest."""

M_co = TypeVar("M_co", bound=Model, covariant=True)


@dataclass(frozen=True)
class Loaded(Generic[M_co]):
    """A document as its model, and where it came from; not `whole` where fields with problems were left out."""

    model: M_co
    document: Document
    whole: bool = True


def check_slos(
    slos: Iterable[Loaded[SloModel]], shared: Iterable[Loaded[Any]], windows: Sequence[AlertWindow]
) -> tuple[list[Loaded[SloModel]], list[Problem]]:
    """The SLOs that are right, with what they refer to among `shared` in its place; what is wrong with the others."""
    library = Library({(each.model.kind, each.model.metadata.name): each.model for each in shared if each.whole})
    good: list[Loaded[SloModel]] = []
    problems = []
    for written in slos:
        document = written.document
        model = library.resolved(written.model) if isinstance(written.model, SloDocument) else written.model
        if model is None:  # what is missing is a problem of check_references, or of the document that it is in
            continue
        slo = Loaded(model, document, written.whole)
        found = [
            document.problem(loc, Code.INVALID_SLO, *parted(message))
            for loc, message in dialects.check(slo.model, windows, whole=slo.whole)
            if slo.whole or loc in document.spots  # nothing about what was left out
        ]
        problems += found
        good += [slo] if slo.whole and not found else []
    return good, problems


def check_indicators(shared: Iterable[Loaded[Any]]) -> Iterator[Problem]:
    """What is wrong with indicators that stand on their own."""
    for each in shared:
        if isinstance(each.model, SliDocument) and each.whole:
            for loc, message in openslo.check_indicator(each.model.spec):
                yield each.document.problem(loc, Code.INVALID_SLO, *parted(message))


def check_references(documents: Sequence[Document]) -> Iterator[Problem]:
    """Names in OpenSLO documents that no document has; services, where there is a document of any."""
    named: dict[str, list[str]] = {}
    for document in documents:
        if isinstance(name := _at(document.value, "metadata", "name"), str):
            named.setdefault(str(_at(document.value, "kind")), []).append(name)
    for document in documents:
        found = list(references(document.value))
        service = _at(document.value, "spec", "service")
        if "Service" in named and _at(document.value, "kind") == "SLO" and isinstance(service, str):
            found.append((("spec", "service"), "Service", service))
        for loc, kind, name in found:
            known = named.get(kind, [])
            if name not in known:
                message = f'there is no {kind} "{name}"{suggestion(name, known)}'
                expected = f"one of {', '.join(known)}" if known else f"a document of kind {kind} among the files"
                yield document.problem(loc, Code.UNKNOWN_REFERENCE, message, expected)


def _at(value: Any, *path: str) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def check_sources(slos: Iterable[tuple[Document, Sequence[Objective]]], daemon: DaemonConfig) -> Iterator[Problem]:
    """SLOs over the queries of a Prometheus that the daemon does not know, or cannot ask in whole slices."""
    known = daemon.prometheus
    for document, objectives in slos:
        for objective in objectives:
            if not isinstance(objective.indicator, Query):
                continue
            name = source_of(objective.indicator, tuple(known))
            if name is None:
                yield document.problem((), Code.PROMETHEUS_SOURCE, *_unknown_source(objective.indicator, known))
                break
            step = int(known[name].interval)
            if objective.slices is not None and objective.slices.seconds % step:
                message = f"a slice of {objective.slices.seconds} s is no multiple of the {step} s between two queries"
                expected = f"an interval of prometheus.{name} that divides it"
                yield document.problem((), Code.PROMETHEUS_SOURCE, message, expected)
                break


def _unknown_source(indicator: Query, known: Iterable[str]) -> tuple[str, str]:
    names = list(known)
    if not names:
        message = "the daemon asks no Prometheus: this SLO is for `sloctl rules` only"
        return message, "a Prometheus under prometheus in the daemon's file, or this file left out of its slos"
    if not indicator.source:
        return "this SLO names no source, and the daemon has several", f"a metricSourceRef: {' or '.join(names)}"
    message = f'the daemon has no Prometheus "{indicator.source}"{suggestion(indicator.source, names)}'
    return message, f"one of {', '.join(names)}"


def check_names(
    slos: Sequence[Loaded[SloModel]],
    policies: Sequence[Loaded[PolicyDocument]],
    tables: Sequence[Loaded[AlertWindows]],
    shared: Sequence[Loaded[Any]],
) -> Iterator[Problem]:
    """Two of one name, two policies for a model, two tables of windows; each names the place of the first."""
    found = [(slo.document, *name) for slo in slos for name in dialects.names(slo.model)]
    yield from _repeated(found, Code.DUPLICATE_NAME, "an SLO is named {!r} twice")
    at: Loc = ("metadata", "name")
    found = [(each.document, at, each.model.metadata.name) for each in policies]
    yield from _repeated(found, Code.DUPLICATE_NAME, "a policy is named {!r} twice")
    found = [(each.document, ("spec", "model"), each.model.spec.model) for each in policies]
    yield from _repeated(found, Code.SECOND_POLICY, "a second policy for model {!r}")
    for kind in dict.fromkeys(each.model.kind for each in shared):
        found = [(each.document, at, each.model.metadata.name) for each in shared if each.model.kind == kind]
        yield from _repeated(found, Code.DUPLICATE_NAME, f"{kind} {{!r}} is there twice")
    found = [(table.document, ("kind",), "AlertWindows") for table in tables]
    yield from _repeated(found, Code.DUPLICATE_NAME, "a second document of kind {}")


def _repeated(names: Iterable[tuple[Document, Loc, str]], code: Code, message: str) -> Iterator[Problem]:
    first: dict[str, tuple[Document, Loc]] = {}
    for document, loc, name in names:
        if name in first:
            source, place = first[name]
            where = source.where(place)
            yield document.problem(loc, code, f"{message.format(name)}; the first is at {where}", "only one")
        else:
            first[name] = (document, loc)


def check_maintenance(planned: Iterable[Loaded[Maintenance]], slos: Sequence[str]) -> Iterator[Problem]:
    """Maintenance of SLOs that there are none of."""
    for each in planned:
        for index, pattern in enumerate(each.model.spec.slos if each.whole else ()):
            if not any(fnmatchcase(name, pattern) for name in slos):
                message = f'there is no SLO "{pattern}"{suggestion(pattern, list(slos))}'
                expected = f"a name of {', '.join(slos)}, or a pattern with *" if slos else "files of SLOs beside it"
                yield each.document.problem(("spec", "slos", index), Code.UNKNOWN_REFERENCE, message, expected)


def check_labels(documents: Iterable[Document], daemon: DaemonConfig) -> Iterator[Problem]:
    """Labels of indicators that name a model, variant, priority class or tenant which the daemon does not have.

    It looks at SLO documents as they are written, right or wrong.
    """
    variants = {model.name: list(model.names) for model in daemon.models}
    for document in documents:
        for at, labels in _label_sets(document.value, ()):
            models = [name for _, name in _values(labels, "model") if name in variants] or list(variants)
            known = {
                "model": (Code.UNKNOWN_MODEL, list(variants)),
                "variant": (Code.UNKNOWN_VARIANT, [v for model in models for v in variants[model]]),
                "priority": (Code.UNKNOWN_PRIORITY, daemon.priorities),
                "tenant": (Code.UNKNOWN_TENANT, list(daemon.tenants.labels if daemon.tenants else ())),
            }
            for label, (code, names) in known.items():
                for place, name in _values(labels, label):
                    if name not in names:
                        message = f'the daemon has no {label} "{name}"{suggestion(name, names)}'
                        expected = f"one of {', '.join(dict.fromkeys(names))}" if names else f"no {label}"
                        yield document.problem((*at, *place), code, message, expected)


def _label_sets(value: Any, loc: Loc) -> Iterator[tuple[Loc, dict[str, Any]]]:
    """What says which values of labels are meant, wherever under a value it is."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        measured = loc[-2:] == ("metricSource", "spec") or loc[:2] == ("spec", "objectives")
        if key in ("labels", "each") and measured and isinstance(inner, dict):
            yield (*loc, key), inner
        elif key == "model" and loc == ("spec",):
            yield loc, {"model": inner}
        else:
            yield from _label_sets(inner, (*loc, key))


def _values(labels: dict[str, Any], label: str) -> list[tuple[Loc, str]]:
    value = labels.get(label)
    if isinstance(value, list):
        return [((label, index), one) for index, one in enumerate(value) if isinstance(one, str)]
    return [((label,), value)] if isinstance(value, str) else []


def check_policies(
    policies: Iterable[Loaded[PolicyDocument]],
    slos: Iterable[str] | None,
    daemon: DaemonConfig | None,
    objectives: Sequence[Objective] | None = None,
    windows: Sequence[AlertWindow] = (),
    accuracies: Accuracies | None = None,
) -> Iterator[Problem]:
    """What policies name: SLOs (None: not known), models, variants, priority classes, windows, accuracy floors.

    `objectives` are those SLOs, None where not all of them are right.
    """
    vocabulary = Vocabulary(
        slos=None if slos is None else tuple(slos),
        variants={model.name: model.names for model in daemon.models} if daemon else None,
        priorities=tuple(daemon.priorities) if daemon else None,
        longest=None if objectives is None else longest_window(objectives, windows),
        timed=None if objectives is None else tuple(each.name for each in objectives if thresholds([each])),
    )
    measured = accuracies or {}
    for each in policies:
        for loc, message, column in policy.check(each.model, vocabulary, measured.get(each.model.spec.model)):
            if not each.whole and "precision" in loc:
                continue  # the ladder may be what was left out
            yield each.document.problem(loc, _policy_code(loc, column), message, column=column)


def _policy_code(loc: Loc, column: int | None) -> Code:
    if column is not None:
        return Code.INVALID_EXPRESSION
    if loc == ("spec", "model"):
        return Code.UNKNOWN_MODEL
    if loc[:2] == ("spec", "ladder"):
        return Code.INVALID_LADDER
    return Code.UNKNOWN_PRIORITY if "admit" in loc else Code.INVALID_POLICY


def check_devices(daemon: Loaded[DaemonConfig]) -> Iterator[Problem]:
    """Devices: their names, each GPU once, and what a process with a MIG device can reach."""
    config, document = daemon.model, daemon.document
    if config.devices and ("device",) in document.spots:
        yield document.problem(("device",), Code.INVALID_DEVICE, "device and devices are both set", "one of them")
    named: list[tuple[Loc, str]] = [(("devices", index), device) for index, device in enumerate(config.devices)]
    named += [] if config.devices else [(("device",), config.device)]
    pins: list[tuple[Loc, str]] = [
        (("models", at, "variants", index, "device"), variant.device)
        for at, model in enumerate(config.models)
        for index, variant in enumerate(model.variants)
        if isinstance(variant, VariantConfig)
    ]
    for loc, device in (*named, *pins):
        if not is_known(device):
            yield document.problem(loc, Code.INVALID_DEVICE, f'"{device}" names no device', FORMS)
    seen: set[str] = set()
    for loc, device in named:
        if device != "cpu" and device.lower() in seen:
            message = f"{device} is named twice: two processes on a GPU would share its memory and its time"
            yield document.problem(loc, Code.INVALID_DEVICE, message, "each GPU once; cpu may be there several times")
        seen.add(device.lower())
    for loc, pin in pins:
        gpus = {device for device in (*config.hosts, pin) if device != "cpu"}
        if len(gpus) > 1 and any(device.startswith("MIG-") for device in gpus):
            message = "a process reaches one MIG device, and no GPU beside it; this variant would need two"
            yield document.problem(loc, Code.INVALID_DEVICE, message, "no device of its own, or whole GPUs")


def check_daemon(daemon: Loaded[DaemonConfig]) -> Iterator[Problem]:
    """Where the control plane may be reached from, and whether its token can be read."""
    control, document = daemon.model.control, daemon.document
    if control.token_file is not None:
        yield from _check_token(document, ("control", "tokenFile"), control.token_file)
    elif not is_loopback(control.host):
        message = f"the control plane would listen on {control.host} without a token: anybody could override it"
        expected = "tokenFile beside host, or a loopback address such as 127.0.0.1"
        yield document.problem(("control", "host"), Code.OPEN_CONTROL, message, expected)


def check_alertmanagers(daemon: Loaded[DaemonConfig]) -> Iterator[Problem]:
    """Whether the files that Alertmanagers need are there."""
    document = daemon.document
    for index, target in enumerate(daemon.model.alerts.alertmanagers):
        at: Loc = ("alerts", "alertmanagers", index)
        if target.token_file is not None:
            yield from _check_token(document, (*at, "tokenFile"), target.token_file)
        path = document.source.path.parent / (target.ca_file or "")
        if target.ca_file is not None and not path.is_file():
            yield document.problem((*at, "caFile"), Code.NO_SUCH_FILE, f"{path} is not a file", "PEM certificates")


def _check_token(document: Document, loc: Loc, name: str) -> Iterator[Problem]:
    path = document.source.path.parent / name
    if (why := _unusable(path)) is not None:
        expected = "a file that this user may read, with the token on its first line"
        yield document.problem(loc, Code.TOKEN_FILE, f"the token file {path} {why}", expected)


def check_prometheus(daemon: Loaded[DaemonConfig]) -> Iterator[Problem]:
    """Files of a Prometheus' secrets and certificates that cannot be read."""
    document = daemon.document
    for name, source in daemon.model.prometheus.items():
        for field, given in source.files.items():
            path = document.source.path.parent / given
            if (why := _unusable(path)) is not None:
                message, expected = f"{path} {why}", "a file that this user may read"
                yield document.problem(("prometheus", name, field), Code.TOKEN_FILE, message, expected)


def _unusable(path: Path) -> str | None:
    try:
        return None if path.read_text(encoding="utf-8").strip() else "is empty"
    except (OSError, ValueError) as error:
        return f"cannot be read: {(getattr(error, 'strerror', None) or 'not UTF-8 text').lower()}"


def check_bounds(slos: Iterable[Loaded[SloModel]], topology: Topology) -> Iterator[Problem]:
    """Latency thresholds that a running daemon's histograms do not have; they are laid out once, at start."""
    for slo in slos:
        for loc, objective in zip(dialects.places(slo.model), dialects.objectives(slo.model), strict=True):
            for value in thresholds([objective]):
                if value not in topology.bounds:
                    message = f"the running daemon's histograms have no bound at {value:g} s"
                    expected = "a restart of the daemon, which adds it; or a threshold that was there at its start"
                    yield slo.document.problem(loc, Code.RESTART_NEEDED, message, expected)
