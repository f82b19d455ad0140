"""Sloth's SLO files, `version: prometheus/v1`, and its Kubernetes resource PrometheusServiceLevel (https://sloth.dev).

The resource writes the same fields in camelCase. Plug-ins are programs of Sloth's, and refused.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sloctl.config.base import Model
from sloctl.slo.alert_texts import Texts
from sloctl.slo.promql import WINDOW

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,126}[A-Za-z0-9])?$")]


def _plugins(_: Any) -> Any:
    raise ValueError("not supported: plug-ins are programs that Sloth runs; write the query that they make")


_Plugins = Annotated[None, BeforeValidator(_plugins)]


def _template(value: str) -> str:
    if not WINDOW.search(value):
        raise ValueError("the query has no {{.window}}; expected one such as sum(rate(x_total[{{.window}}]))")
    return value


Query = Annotated[str, AfterValidator(_template)]


class Events(Model):
    """Bad and all events."""

    error_query: Query
    total_query: Query

    @model_validator(mode="after")
    def _different(self) -> "Events":
        if self.error_query == self.total_query:
            raise ValueError("the error query is the total query")
        return self


class Raw(Model):
    """The share of bad events."""

    error_ratio_query: Query


class Sli(Model):
    """Exactly one kind of indicator."""

    events: Events | None = None
    raw: Raw | None = None
    plugin: _Plugins = None

    @model_validator(mode="after")
    def _one(self) -> "Sli":
        if (self.events is None) == (self.raw is None):
            raise ValueError("expected either events or raw, and not both")
        return self


class Alert(Model):
    """What a page or a ticket carries, or that there is none."""

    disable: bool = False
    labels: Texts = Field(default_factory=dict)
    annotations: Texts = Field(default_factory=dict)


class Alerting(Model):
    """The alerts of an SLO."""

    name: str = ""
    labels: Texts = Field(default_factory=dict)
    annotations: Texts = Field(default_factory=dict)
    page_alert: Alert = Alert()
    ticket_alert: Alert = Alert()

    @model_validator(mode="after")
    def _named(self) -> "Alerting":
        if not self.name and not (self.page_alert.disable and self.ticket_alert.disable):
            raise ValueError("the alerts have no name; expected name: …")
        return self


class Slo(Model):
    """One SLO; the objective is in percent."""

    name: Name
    objective: Annotated[float, Field(gt=0, lt=100)]
    description: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    sli: Sli
    alerting: Alerting
    plugins: _Plugins = None


class SlothDocument(Model):
    """A file of Sloth's."""

    version: Literal["prometheus/v1"]
    service: Name
    labels: dict[str, str] = Field(default_factory=dict)
    slos: Annotated[list[Slo], Field(min_length=1)]
    slo_plugins: _Plugins = None


class ResourceSpec(Model):
    """The body of a PrometheusServiceLevel."""

    service: Name
    labels: dict[str, str] = Field(default_factory=dict)
    slos: Annotated[list[Slo], Field(min_length=1)]
    slo_plugins: _Plugins = None


class SlothResource(Model):
    """Sloth's Kubernetes resource. Metadata and status are Kubernetes' own."""

    api_version: Literal["sloth.slok.dev/v1"]
    kind: Literal["PrometheusServiceLevel"]
    metadata: dict[str, Any]
    spec: ResourceSpec
    status: dict[str, Any] | None = None
