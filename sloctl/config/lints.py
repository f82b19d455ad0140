"""Lints: what is well formed and can be used, but hardly does what its author wants. They are warnings."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from sloctl.config.checks import Loaded
from sloctl.config.documents import SHARED, SLOS, Bundle, kind_of
from sloctl.config.lint_objectives import Limits, Placed, lint_objective
from sloctl.config.lint_policies import lint_policy
from sloctl.config.lint_queries import lint_queries
from sloctl.config.messages import located
from sloctl.config.problems import Code, Problem
from sloctl.config.sources import Document, Loc
from sloctl.slo import dialects
from sloctl.slo.alarms import alarms_of, grouped, lengths_of
from sloctl.slo.dialects import SloModel
from sloctl.slo.objective import Objective, thresholds
from sloctl.slo.windows import AlertWindow

_TARGETS = ("target", "targetPercent", "objective")


@dataclass(frozen=True)
class Options:
    """What the files do not say: `limits` of where the SLOs will be kept, and how many `series` a file may make."""

    limits: Limits = field(default_factory=Limits)
    series: int = 10_000


def lints(bundle: Bundle, options: Options) -> Iterator[Problem]:
    """Warnings about the documents of a bundle that are right by themselves."""
    for slo in bundle.slo_documents:
        for placed in _placed(slo):
            yield from lint_objective(placed, alarms_of(placed.objective, bundle.windows), options.limits)
    yield from _many_series(bundle, options.series)
    bounds = thresholds(bundle.objectives)
    for document in bundle.files.documents:
        if kind_of(document) in {**SLOS, **SHARED}:
            yield from lint_queries(document, bounds)
    for policy in bundle.policy_documents:
        yield from lint_policy(policy, bundle.objectives, bundle.windows)


def _placed(slo: Loaded[SloModel]) -> Iterator[Placed]:
    document = slo.document
    for place, objective in zip(dialects.places(slo.model), dialects.objectives(slo.model), strict=True):
        at = place[:-1]
        yield Placed(
            document,
            objective,
            at,
            target=_first(document, [*((*at, name) for name in _TARGETS), (*at, "badTime", "max")], at),
            period=_first(document, [(*at, "badTime", "per"), (*at, "period"), *_PERIODS], at),
        )


_PERIODS: list[Loc] = [("spec", "period"), ("spec", "timeWindow", 0, "duration")]


def _first(document: Document, candidates: Iterable[Loc], default: Loc) -> Loc:
    """The first of these places that the document has, a field being written by either name."""
    found = ((located(document, loc), loc) for loc in candidates)
    return next((there for there, loc in found if len(there) == len(loc)), default)


def _many_series(bundle: Bundle, bound: int) -> Iterator[Problem]:
    made: dict[str, tuple[Document, int, int]] = {}
    for slo in bundle.slo_documents:
        objectives = dialects.objectives(slo.model)
        path = str(slo.document.source.path)
        first, slos, series = made.get(path, (slo.document, 0, 0))
        series += sum(series_of(objective, bundle.windows) for objective in objectives)
        made[path] = (first, slos + len(objectives), series)
    for document, slos, series in made.values():
        if series > bound:
            message = f"{slos} SLOs make {series} series in a Prometheus (each value of `each` is an SLO of its own)"
            yield document.problem((), Code.MANY_SERIES, message, f"at most {bound}, or --max-series {series}")


def series_of(objective: Objective, windows: Sequence[AlertWindow]) -> int:
    """How many series the rules of an SLO record, with those of its alerts while they fire."""
    alarms = alarms_of(objective, windows)
    counts = 2 + 2 * (objective.slices is not None)  # good and all, of five minutes and of slices
    # Error ratio and burn rate of each window; objective and budget; each alert, and the one of absent data.
    alerts = len(grouped(objective, alarms)) + len(objective.budget_steps) + bool(alarms)
    return counts + 2 * len(lengths_of(objective, alarms)) + 2 + alerts
