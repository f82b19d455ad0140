"""`kind: Incidents`: what really happened, for `sloctl backtest` to hold alerts against."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, model_validator

from sloctl.cases.backtest import Incident
from sloctl.config.base import Metadata, Model


class IncidentSpec(Model):
    """One incident, of one SLO or of all."""

    name: Annotated[str, Field(min_length=1)]
    start: AwareDatetime
    end: AwareDatetime
    slo: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "IncidentSpec":
        if self.end <= self.start:
            raise ValueError("end is not after start")
        return self


class IncidentsSpec(Model):
    """The body."""

    incidents: Annotated[list[IncidentSpec], Field(min_length=1, max_length=10_000)]


class Incidents(Model):
    """A whole document."""

    api_version: Literal["sloctl/v1"]
    kind: Literal["Incidents"]
    metadata: Metadata
    spec: IncidentsSpec

    def all(self) -> list[Incident]:
        """The incidents, in Unix time."""
        return [Incident(i.name, i.start.timestamp(), i.end.timestamp(), i.slo) for i in self.spec.incidents]
