"""`kind: Maintenance`: planned times that are left out of SLOs, whatever format these are written in."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema, model_validator

from sloctl.config.base import Duration, Model
from sloctl.slo.exclusions import Exclusion, Once, Recurring
from sloctl.slo.objective import Objective
from sloctl.slo.openslo_alerting import DocumentMetadata

_LONGEST = 31 * 86400.0
_CIVIL = "%Y-%m-%dT%H:%M:%S"


def _civil(value: object) -> object:
    if isinstance(value, datetime):
        return value
    for form in (_CIVIL, "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"):
        try:
            return datetime.strptime(str(value), form)  # noqa: DTZ007  a civil time: its zone is a field of its own
        except ValueError:
            continue
    raise ValueError("expected a civil time such as 2026-01-04T03:00:00, whose zone is in timeZone")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name!r}; expected a name such as Europe/Berlin") from None
    return name


_CIVIL_FORM = WithJsonSchema({"type": "string", "examples": ["2026-01-04T03:00:00"]})
Civil = Annotated[datetime, BeforeValidator(_civil), _CIVIL_FORM]


class ExclusionSpec(Model):
    """Once `from` … `to`, or again and again: `rrule` (RFC 5545) with its `start`, `timeZone` and `duration`."""

    rrule: str | None = None
    start: Civil | None = None
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    duration: Annotated[Duration, Field(gt=0, le=_LONGEST)] | None = None
    begin: AwareDatetime | None = Field(default=None, alias="from")
    end: AwareDatetime | None = Field(default=None, alias="to")
    reason: Annotated[str, Field(max_length=500)] = ""

    @model_validator(mode="after")
    def _one(self) -> "ExclusionSpec":
        again, once = (self.rrule, self.start, self.duration), (self.begin, self.end)
        if None in again and any(each is not None for each in again):
            raise ValueError("rrule, start and duration belong together")
        if None in once and any(each is not None for each in once):
            raise ValueError("from and to belong together")
        if (self.rrule is None) == (self.begin is None):
            raise ValueError("expected either from and to, or rrule with start and duration")
        if self.begin is not None and self.end is not None and self.begin >= self.end:
            raise ValueError("to is not after from")
        self.exclusion()  # says what is wrong with a rule
        return self

    def exclusion(self, reason: str = "") -> Exclusion:
        """As SLOs have it; `reason` where none of its own is given."""
        why = self.reason or reason
        if self.rrule is not None and self.start is not None and self.duration is not None:
            return Recurring(self.rrule, self.start, self.time_zone, self.duration, why)
        if self.begin is None or self.end is None:
            raise ValueError("an exclusion without its time")  # the model has seen to it
        return Once(self.begin.timestamp(), self.end.timestamp(), why)


class MaintenanceSpec(Model):
    """The body: which SLOs, by names in which `*` stands for anything, and when."""

    slos: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=1000)]
    exclusions: Annotated[list[ExclusionSpec], Field(min_length=1, max_length=100)]
    reason: Annotated[str, Field(max_length=500)] = ""


class Maintenance(Model):
    """A whole document."""

    api_version: Literal["sloctl/v1"]
    kind: Literal["Maintenance"]
    metadata: DocumentMetadata
    spec: MaintenanceSpec

    def concerns(self, slo: str) -> bool:
        """Whether it is about an SLO."""
        return any(fnmatchcase(slo, pattern) for pattern in self.spec.slos)

    def exclusions(self) -> list[Exclusion]:
        """Its times."""
        return [each.exclusion(self.spec.reason or self.metadata.name) for each in self.spec.exclusions]


def with_maintenance(objectives: Iterable[Objective], documents: Iterable[Maintenance]) -> tuple[Objective, ...]:
    """The objectives with the times that documents leave out of them."""
    planned = list(documents)
    found = []
    for objective in objectives:
        more = [each for document in planned if document.concerns(objective.name) for each in document.exclusions()]
        found.append(replace(objective, exclusions=(*objective.exclusions, *more)) if more else objective)
    return tuple(found)
