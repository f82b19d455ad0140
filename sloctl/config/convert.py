"""SLOs from one format into another, and what is lost on the way.

Each objective is written in the words of the other format, read again, and compared: what differs was lost. So
nothing can be lost without being told, whatever an objective comes to hold.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from sloctl.config.base import format_duration
from sloctl.config.documents import OPENSLO, SLOS, Bundle, Files, kind_of
from sloctl.config.formatting import formatted
from sloctl.config.messages import validated
from sloctl.config.problems import Code, Problem, arranged
from sloctl.config.sources import Document, Loc, Source
from sloctl.config.unread import unread
from sloctl.config.yaml_tree import comments
from sloctl.slo import dialects
from sloctl.slo.objective import Indicator, Objective, Query, QueryRatio, QueryShare, Ratio, Raw, Tier
from sloctl.slo.prometheus import ALERT
from sloctl.slo.windows import AlertWindow
from sloctl.slo.write import openslo, service_level, sloth
from sloctl.slo.write.words import Document as Plain
from sloctl.slo.write.words import NoWords


class Format(StrEnum):
    """What SLOs can be written in."""

    OPENSLO = "openslo"
    SLOTH = "sloth"
    SLOCTL = "sloctl"


_WRITERS: Mapping[Format, Callable[[Objective], Plain]] = {
    Format.OPENSLO: openslo.document,
    Format.SLOTH: sloth.document,
    Format.SLOCTL: service_level.document,
}
DATA_SOURCE = (OPENSLO, "DataSource")
_LISTS = {Format.SLOTH: "slos", Format.SLOCTL: "objectives"}


@dataclass(frozen=True)
class Converted:
    """The text in the other format, what was lost (warnings), and what could not be said at all (errors)."""

    text: str
    problems: tuple[Problem, ...]


def converted(bundle: Bundle, to: Format) -> Converted:
    """The SLOs of a bundle without errors in another format."""
    problems: list[Problem] = []
    written: list[Plain] = []
    for slo in bundle.slo_documents:
        for place, objective in zip(dialects.places(slo.model), dialects.objectives(slo.model), strict=True):
            document, wrong = _one(slo.document, place[:-1], objective, to, bundle.windows)
            problems += wrong
            written += [document] if document else []
    sources = _sources(bundle) if to is Format.OPENSLO and written else {}
    problems += _beyond(bundle, sources)
    text = "---\n".join(dumped(document) for document in [*sources.values(), *_gathered(written, to)])
    name = Path(f"{to}.yaml")
    result, wrong_form = formatted(Source.of(name, text)) if text else ("", ())
    return Converted(result, arranged([*problems, *wrong_form]))


def _sources(bundle: Bundle) -> dict[str, Plain]:
    """The documents of the Prometheus that indicators name, as they are or made anew."""
    there = {
        document.value["metadata"]["name"]: document.value
        for document in bundle.files.documents
        if kind_of(document) == DATA_SOURCE
    }
    indicators = (objective.indicator for objective in bundle.objectives)
    names = dict.fromkeys(each.source for each in indicators if isinstance(each, Query) and each.source)
    return {name: there.get(name) or openslo.data_source(name) for name in names}


def dumped(document: Plain) -> str:
    """A document as YAML."""
    return yaml.dump(
        document, Dumper=yaml.SafeDumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=10_000
    )


def _one(
    document: Document, at: Loc, objective: Objective, to: Format, windows: Sequence[AlertWindow]
) -> tuple[Plain | None, list[Problem]]:
    """An objective in the other format, and what was lost; or None, and why there are no words."""
    try:
        written, lost = write(objective, to, windows)
    except NoWords as error:
        message = f"{objective.name} has no words in {to}: {error}"
        return None, [_problem(document, at, Code.NOT_CONVERTIBLE, error.field, message)]
    return written, [
        _problem(document, at, Code.NOT_CARRIED, field, f"{objective.name}: {message}") for field, message in lost
    ]


def write(
    objective: Objective, to: Format, windows: Sequence[AlertWindow]
) -> tuple[Plain, tuple[tuple[str, str], ...]]:
    """A document of the other format with the objective alone, and what it lost: its fields, and in words.

    Raises NoWords.
    """
    written = _WRITERS[to](objective)
    return written, tuple(differences(objective, _read(written, windows)))


def _read(written: Plain, windows: Sequence[AlertWindow]) -> Objective:
    """The objective that a document holds. Raises NoWords where it holds none."""
    (document,) = Files.of([Source.of(Path("written.yaml"), dumped(written))]).documents
    model, problems = validated(document, SLOS[kind_of(document)])
    if model is None:
        raise NoWords("", "; ".join(f"{problem.field}: {problem.message}" for problem in problems))
    if wrong := dialects.check(model, windows):
        raise NoWords("", wrong[0][1])
    return dialects.objectives(model)[0]


def differences(before: Objective, after: Objective) -> Iterator[tuple[str, str]]:
    """The fields that say something else, with what was lost."""
    for field in fields(Objective):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if field.name == "tiers":
            old, new = _tiers(old), _tiers(new)
        if field.name != "origin" and old != new:
            yield field.name, _lost(field.name, old, new)


def _tiers(tiers: Mapping[str, Tier | None]) -> dict[str, Tier | None]:
    """What is said of alerts, with what is meant where nothing is."""
    said = {severity: tiers.get(severity, Tier()) for severity in ("page", "ticket")}
    return {
        severity: tier and Tier(tier.name or ALERT, tier.labels, tier.annotations) for severity, tier in said.items()
    }


def _lost(field: str, old: Any, new: Any) -> str:
    say = _SAYINGS.get(field)
    return say(old, new) if say else f"{field.replace('_', ' ')} {_shown(old)} becomes {_shown(new)}"


def _names_lost(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    names = {**old, **new}
    return f"lost: {', '.join(name for name in names if old.get(name) != new.get(name))}"


def _other_words(old: Indicator, new: Indicator) -> str:
    if isinstance(new, Query) and not isinstance(old, Query):
        return "the indicator becomes queries of a Prometheus, no more what a daemon measures itself"
    if isinstance(old, Query) and replace(old, source="") == new:
        return f"which Prometheus to ask is lost: {old.source}"
    if _sides(old) != _sides(new):
        return "the indicator is written by its other side: good or bad events as all less the rest"
    return f"the indicator says something else: {_shown(new)}"


def _sides(indicator: Indicator) -> tuple[bool, ...]:
    """Which of good and bad an indicator counts."""
    if isinstance(indicator, Raw | QueryShare):
        return (indicator.failure,)
    return (indicator.good is None,) if isinstance(indicator, Ratio | QueryRatio) else ()


_SAYINGS: Mapping[str, Callable[[Any, Any], str]] = {
    "period_seconds": lambda old, new: f"the period of {format_duration(old)} becomes {format_duration(new)}",
    "calendar": lambda old, _: f"periods of the calendar ({old.count}{old.unit} in {old.zone}) become one that rolls",
    "slices": lambda old, _: f"slices of {format_duration(old.seconds)} are lost: every event counts by itself",
    "alarms": lambda old, _: f"alert policies are lost: {', '.join(alarm.name for alarm in old)}; it has the windows'",
    "tiers": lambda old, new: f"what is said of alerts is {_names_lost(old, new)}",
    "labels": lambda old, new: f"labels are {_names_lost(old, new)}",
    "annotations": lambda old, new: f"annotations are {_names_lost(old, new)}",
    "indicator": _other_words,
    "minimum_events": lambda old, _: f"minimumEvents is lost: alerts fire with fewer than {old} events, too",
}


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 160 else f"{text[:159]}…"


_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "period_seconds": ("period", "timeWindow"),
    "display_name": ("displayName", "name"),
    "minimum_events": ("minimumEvents",),
    "slices": ("timeSliceWindow",),
    "calendar": ("timeWindow",),
    "alarms": ("alertPolicies",),
    "tiers": ("alerts", "alerting"),
    "indicator": ("sli", "badTime", "indicator", "indicatorRef"),
    "target": ("target", "targetPercent", "objective"),
    "annotations": ("description", "annotations"),
    "labels": ("labels",),
}
"""Where the fields of an objective may be written: in the objective, the body, or the metadata."""


def _problem(document: Document, at: Loc, code: Code, field: str, message: str) -> Problem:
    names = _WRITTEN.get(field, (field,))
    places = [(*around, name) for around in (at, ("spec",), ("metadata",)) for name in names]
    loc = next((place for place in places if place in document.spots), at)
    return document.problem(loc, code, message, _EXPECTED[code], key=loc != at)


_EXPECTED = {
    Code.NOT_CARRIED: "that this does not matter, or the SLO as it is",
    Code.NOT_CONVERTIBLE: "the SLO left in its format",
}


def _beyond(bundle: Bundle, carried: Mapping[str, Plain]) -> Iterator[Problem]:
    """What documents say besides their objectives, but for those that are carried over as they are."""
    for document in bundle.files.documents:
        for loc in unread(document) if not any(document.value is whole for whole in carried.values()) else ():
            message = f"{loc[-1]} of the {kind_of(document)[1] or 'file'} has no place in an objective"
            yield document.problem(loc, Code.NOT_CARRIED, message, _EXPECTED[Code.NOT_CARRIED], key=True)


def comment_count(bundle: Bundle) -> int:
    """How many comments the files have; no objective holds any."""
    return sum(1 for source in bundle.files.sources for _ in comments("\n".join(source.lines)))


def _gathered(written: Sequence[Plain], to: Format) -> list[Plain]:
    """Documents that differ in nothing but their objectives as one."""
    name = _LISTS.get(to)
    if name is None:
        return list(written)
    found: dict[str, Plain] = {}
    for document in written:
        body = document.get("spec", document)
        key = json.dumps({**document, "spec": {**body, name: []}, name: []}, sort_keys=True)
        if key in found:
            found[key].get("spec", found[key])[name].extend(body[name])
        else:
            found[key] = document
    return list(found.values())
