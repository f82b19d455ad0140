"""Documents by their apiVersion and kind, and the bundle of SLOs, policies and windows that a daemon runs on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from sloctl.cases.document import TestDocument
from sloctl.cases.incidents import Incidents
from sloctl.config.base import Model
from sloctl.config.budget_policies import check_budget_policies, with_budget_rules
from sloctl.config.checks import (
    Accuracies,
    Loaded,
    check_indicators,
    check_labels,
    check_maintenance,
    check_names,
    check_policies,
    check_references,
    check_slos,
    check_sources,
)
from sloctl.config.daemon import DaemonConfig
from sloctl.config.messages import salvaged, suggestion, validated
from sloctl.config.problems import Code, Problem, arranged, require
from sloctl.config.resources import resource
from sloctl.config.sources import Document, Source, read
from sloctl.config.yaml_source import parse
from sloctl.policy.document import PolicyDocument
from sloctl.slo.dialects import SloModel, objectives
from sloctl.slo.maintenance import Maintenance, with_maintenance
from sloctl.slo.objective import Objective
from sloctl.slo.openslo_alerting import (
    AlertConditionDocument,
    AlertPolicyDocument,
    AlertTargetDocument,
    DataSourceDocument,
    ServiceDocument,
)
from sloctl.slo.openslo_model import SliDocument, SloDocument
from sloctl.slo.service_level import ServiceLevel
from sloctl.slo.sloth_model import SlothDocument, SlothResource
from sloctl.slo.windows import AlertWindow, AlertWindows

DAEMON = ("sloctl/v1", "Daemon")
WINDOWS = ("sloctl/v1", "AlertWindows")
TEST = ("sloctl/v1", "Test")
OPENSLO, SLOTH = "openslo/v1", "prometheus/v1"
SHARED: Mapping[tuple[str, str], type[Model]] = {
    (OPENSLO, "SLI"): SliDocument,
    (OPENSLO, "Service"): ServiceDocument,
    (OPENSLO, "DataSource"): DataSourceDocument,
    (OPENSLO, "AlertPolicy"): AlertPolicyDocument,
    (OPENSLO, "AlertCondition"): AlertConditionDocument,
    (OPENSLO, "AlertNotificationTarget"): AlertTargetDocument,
}
SLOS: Mapping[tuple[str, str], type[SloModel]] = {
    (OPENSLO, "SLO"): SloDocument,
    (SLOTH, ""): SlothDocument,
    ("sloth.slok.dev/v1", "PrometheusServiceLevel"): SlothResource,
    ("sloctl/v1", "ServiceLevel"): ServiceLevel,
}
KINDS: Mapping[tuple[str, str], type[Model]] = {
    **SLOS,
    **SHARED,
    ("sloctl/v1", "Policy"): PolicyDocument,
    ("sloctl/v1", "Maintenance"): Maintenance,
    TEST: TestDocument,
    ("sloctl/v1", "Incidents"): Incidents,
    WINDOWS: AlertWindows,
    DAEMON: DaemonConfig,
}
_SUPPORTED = ", ".join(f"{kind or 'version'} ({version})" for version, kind in KINDS)
DEFAULT_WINDOWS = "rules/windows/sre-workbook.yaml"

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Files:
    """What was read: the sources, their documents, and what was wrong with either as YAML."""

    sources: tuple[Source, ...]
    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def read(cls, paths: Iterable[Path]) -> "Files":
        """From the disk; a file that is named twice is read once."""
        sources, problems = [], []
        for path in {path.resolve(): path for path in paths}.values():
            source, wrong = read(path)
            problems += wrong
            sources += [source] if source else []
        return cls.of(sources, problems)

    @classmethod
    def of(cls, sources: Iterable[Source], problems: Iterable[Problem] = ()) -> "Files":
        """From sources at hand."""
        sources, problems, documents = tuple(sources), list(problems), []
        for source in sources:
            found, wrong = parse(source)
            documents += found
            problems += wrong
        return cls(sources, tuple(documents), tuple(problems))


@dataclass(frozen=True)
class Bundle:
    """SLOs, policies and alerting windows; usable where there are no `problems`.

    With problems it still holds every document that is right by itself.
    """

    slo_documents: tuple[Loaded[SloModel], ...]
    policy_documents: tuple[Loaded[PolicyDocument], ...]
    windows: tuple[AlertWindow, ...]
    problems: tuple[Problem, ...]
    files: Files
    maintenance: tuple[Maintenance, ...] = ()

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of all SLOs, in the order of files."""
        written = (objective for slo in self.slo_documents for objective in objectives(slo.model))
        return with_maintenance(written, self.maintenance)

    @property
    def policies(self) -> tuple[PolicyDocument, ...]:
        """The policies, in the order of files, with the actions of budget policies among their rules."""
        return with_budget_rules((policy.model for policy in self.policy_documents), self.slo_documents)

    def texts(self) -> dict[str, str]:
        """File name to text, for `sloctl.config.project.load_bundle_texts`."""
        return {str(source.path): source.text for source in self.files.sources}


def load_bundle(
    paths: Sequence[Path], daemon: DaemonConfig | None = None, accuracies: Accuracies | None = None
) -> Bundle:
    """Reads and checks SLO, policy and window files; without a daemon, names it would know are not checked, nor
    accuracy floors without the measured accuracies.
    """
    return bundle_of(Files.read(paths), daemon, accuracies)


def bundle_of(files: Files, daemon: DaemonConfig | None = None, accuracies: Accuracies | None = None) -> Bundle:
    """The bundle that files hold, with all their problems."""
    sorter = _Sorter(files.documents)
    tables = sorter.whole(AlertWindows)
    windows = tables[0].model.windows() if tables else _default_windows()
    shared = [loaded for model in SHARED.values() for loaded in sorter.any(model)]
    slos, wrong = check_slos(sorter.slos(), shared, windows)
    policies = sorter.any(PolicyDocument)
    maintenance = sorter.any(Maintenance)
    written = [document for document in files.documents if kind_of(document) in SLOS]
    names = _slo_names(files, slos, written, daemon)
    # What a bad SLO would be cannot be told, and its own problem comes first.
    right = names is not None and len(slos) == len(written)
    kept = [objective for slo in slos for objective in objectives(slo.model)] if right else None
    labelled = [document for document in files.documents if kind_of(document) in {**SLOS, **SHARED}]
    open_slo = [document for document in files.documents if kind_of(document)[0] == OPENSLO]
    problems = [
        *files.problems,
        *sorter.problems,
        *wrong,
        *_misplaced(files.documents),
        *check_indicators(shared),
        *check_references(open_slo),
        *check_names(sorter.slos(), policies, sorter.any(AlertWindows), shared),
        *(check_labels(labelled, daemon) if daemon else ()),
        *(check_sources(((slo.document, objectives(slo.model)) for slo in slos), daemon) if daemon else ()),
        *(check_maintenance(maintenance, names) if names is not None else ()),
        *check_budget_policies(slos, policies, daemon),
        *check_policies(policies, names, daemon, kept, windows, accuracies),
    ]
    whole = tuple(sorter.whole(PolicyDocument))
    planned = tuple(each.model for each in maintenance if each.whole)
    return Bundle(tuple(slos), whole, windows, arranged(problems), files, planned)


def check_forms(documents: Iterable[Document]) -> list[Problem]:
    """What keeps documents from being those of their kinds, each by itself."""
    return _Sorter(documents).problems


def _slo_names(
    files: Files, slos: Iterable[Loaded[SloModel]], written: Sequence[Document], daemon: DaemonConfig | None
) -> list[str] | None:
    """What policies may name as an SLO; None where that cannot be told, since a file could not be read."""
    unread = {problem.path for problem in files.problems} - {document.source.path for document in files.documents}
    if unread or not (written or daemon):
        return None
    raw = [document.get(("metadata", "name")) for document in written if ("metadata", "name") in document.spots]
    good = [objective.name for slo in slos for objective in objectives(slo.model)]
    return [*good, *(str(name) for name in raw if name not in good)]


def _misplaced(documents: Iterable[Document]) -> Iterator[Problem]:
    expected = "SLO, Policy and AlertWindows documents; a Daemon stands alone in its own file"
    for document in documents:
        if kind_of(document) == DAEMON:
            yield document.problem((), Code.MISPLACED_DOCUMENT, "a Daemon among SLOs and policies", expected)


def _default_windows() -> tuple[AlertWindow, ...]:
    files = Files.read([resource(DEFAULT_WINDOWS)])
    sorter = _Sorter(files.documents)
    require([*files.problems, *sorter.problems])
    return sorter.whole(AlertWindows)[0].model.windows()


def load_daemon(path: Path) -> tuple[Loaded[DaemonConfig] | None, list[Problem]]:
    """The daemon's configuration from a file that holds nothing else, and what is wrong with it.

    With problems it may still come, without the fields that have them, so that the rest can be checked.
    """
    files = Files.read([path])
    sorter = _Sorter(files.documents)
    daemon = next((document for document in files.documents if kind_of(document) == DAEMON), None)
    strays = [d for d in files.documents if d is not daemon and kind_of(d) in KINDS]
    expected = "one Daemon alone in its file; SLOs and policies lie in files of their own"
    misplaced = [
        stray.problem(
            (), Code.MISPLACED_DOCUMENT, f"a document of kind {kind_of(stray)[1]} in the daemon's file", expected
        )
        for stray in strays
    ]
    return next(iter(sorter.any(DaemonConfig)), None), [*files.problems, *sorter.problems, *misplaced]


def kind_of(document: Document) -> tuple[str, str]:
    """The apiVersion and kind as written; empty where they are not text."""
    value = document.value if isinstance(document.value, dict) else {}
    if value.get("version") == SLOTH and "apiVersion" not in value:
        return SLOTH, ""  # Sloth's files have neither of the two
    version, kind = value.get("apiVersion"), value.get("kind")
    return (version if isinstance(version, str) else "", kind if isinstance(kind, str) else "")


class _Sorter:
    """Documents as models by kind."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.problems: list[Problem] = []
        self._loaded: list[Loaded[Model]] = []
        for document in documents:
            model = KINDS.get(kind_of(document))
            if model is None:
                self.problems.append(_unknown(document))
            else:
                self._take(document, model)

    def _take(self, document: Document, model: type[Model]) -> None:
        value, wrong = validated(document, model)
        self.problems += wrong
        rest = value or salvaged(document, model)
        if rest is not None:
            self._loaded.append(Loaded(rest, document, whole=value is not None))

    def any(self, model: type[M]) -> list[Loaded[M]]:
        """The documents of one model, those with fields left out among them."""
        return [
            Loaded(loaded.model, loaded.document, loaded.whole)
            for loaded in self._loaded
            if isinstance(loaded.model, model)
        ]

    def slos(self) -> list[Loaded[SloModel]]:
        """The SLOs in any dialect, those with fields left out among them."""
        return [loaded for model in SLOS.values() for loaded in self.any(model)]

    def whole(self, model: type[M]) -> list[Loaded[M]]:
        """The documents of one model without problems."""
        return [loaded for loaded in self.any(model) if loaded.whole]


def _unknown(document: Document) -> Problem:
    expected = f"one of {_SUPPORTED}"
    if not isinstance(document.value, dict):
        return document.problem((), Code.UNKNOWN_DOCUMENT, "not a mapping with apiVersion and kind", expected)
    for name in ("apiVersion", "kind"):
        if name not in document.value:
            return document.problem((), Code.UNKNOWN_DOCUMENT, f"the document has no {name}", expected)
    version, kind = kind_of(document)
    kinds = [known for _, known in KINDS if known]
    if kind not in kinds:
        more = suggestion(kind, kinds)
        return document.problem(("kind",), Code.UNKNOWN_DOCUMENT, f'kind "{kind}" is not supported{more}', expected)
    message = f'apiVersion "{version}" is not supported for kind {kind}'
    return document.problem(("apiVersion",), Code.UNKNOWN_DOCUMENT, message, expected)
