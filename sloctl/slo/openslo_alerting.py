"""OpenSLO v1's kinds around an SLO: alert policies, conditions and targets, data sources, services."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from sloctl.config.base import Metadata, Model
from sloctl.slo.shorthand import Shorthand, parse_period, seconds_of

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Description = Annotated[str, Field(max_length=1050)]


class DocumentMetadata(Metadata):
    """Metadata with a name that can be a label value and a part of a file name."""

    name: Name


def _rolling(value: str) -> str:
    parse_period(value)
    return value


def _burning(value: str) -> str:
    if value in ("lte", "lt"):
        raise ValueError(f"{value!r} would alert while the budget does not burn; expected gte or gt")
    return value


class Condition(Model):
    """Fires when the burn rate over `lookbackWindow` has passed `threshold` for `alertAfter`."""

    kind: Literal["burnrate"] = "burnrate"
    op: Annotated[Literal["lte", "gte", "lt", "gt"], AfterValidator(_burning)]
    threshold: Annotated[float, Field(gt=0)]
    lookback_window: Annotated[Shorthand, AfterValidator(_rolling)]
    alert_after: Shorthand = "0m"

    @property
    def lookback(self) -> float:
        """Seconds of the window."""
        return seconds_of(self.lookback_window)

    @property
    def after(self) -> float:
        """Seconds for which it must hold."""
        return seconds_of(self.alert_after)


class ConditionSpec(Model):
    """The body of an AlertCondition."""

    description: Description = ""
    severity: Name
    condition: Condition


class TargetSpec(Model):
    """The body of an AlertNotificationTarget; alerts carry its name, by which an Alertmanager routes them."""

    description: Description = ""
    target: str


class ConditionItem(Model):
    """A condition by name, or written in place."""

    condition_ref: Name | None = None
    kind: Literal["AlertCondition"] | None = None
    metadata: Metadata | None = None
    spec: ConditionSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> "ConditionItem":
        if (self.condition_ref is None) == (self.spec is None):
            raise ValueError("expected either conditionRef, or kind, metadata and spec")
        return self


class TargetItem(Model):
    """A notification target by name, or written in place."""

    target_ref: Name | None = None
    kind: Literal["AlertNotificationTarget"] | None = None
    metadata: DocumentMetadata | None = None
    spec: TargetSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> "TargetItem":
        if (self.target_ref is None) == (self.metadata is None or self.spec is None):
            raise ValueError("expected either targetRef, or kind, metadata with a name, and spec")
        return self

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target_ref or (self.metadata.name if self.metadata else "")


def _off(why: str) -> AfterValidator:
    def check(value: bool) -> bool:
        if value:
            raise ValueError(f"true is not supported: {why}; expected false")
        return value

    return AfterValidator(check)


def _on(value: bool) -> bool:
    if not value:
        raise ValueError("false is not supported: the policy would never alert; expected true, or no policy")
    return value


class AlertPolicySpec(Model):
    """The body of an AlertPolicy."""

    description: Description = ""
    alert_when_breaching: Annotated[bool, AfterValidator(_on)] = True
    alert_when_resolved: Annotated[bool, _off("an Alertmanager's send_resolved tells of ends")] = False
    alert_when_no_data: bool = False  # SLOs with alerts have one of their own for that
    conditions: Annotated[list[ConditionItem], Field(min_length=1, max_length=1)]
    notification_targets: list[TargetItem] = Field(default_factory=list)


class AlertPolicyDocument(Model):
    """An alert policy on its own, for SLOs to name."""

    api_version: Literal["openslo/v1"]
    kind: Literal["AlertPolicy"]
    metadata: DocumentMetadata
    spec: AlertPolicySpec


class AlertConditionDocument(Model):
    """A condition on its own, for alert policies to name."""

    api_version: Literal["openslo/v1"]
    kind: Literal["AlertCondition"]
    metadata: DocumentMetadata
    spec: ConditionSpec


class AlertTargetDocument(Model):
    """A notification target on its own, for alert policies to name."""

    api_version: Literal["openslo/v1"]
    kind: Literal["AlertNotificationTarget"]
    metadata: DocumentMetadata
    spec: TargetSpec


class DataSourceSpec(Model):
    """The body of a DataSource. The details of a Prometheus are kept for whoever evaluates the rules."""

    description: Description = ""
    type: Literal["sloctl", "Prometheus", "prometheus"]
    connection_details: dict[str, Any] | list[Any] | str | None = None


class DataSourceDocument(Model):
    """A source of metrics on its own, for indicators to name."""

    api_version: Literal["openslo/v1"]
    kind: Literal["DataSource"]
    metadata: DocumentMetadata
    spec: DataSourceSpec


class ServiceSpec(Model):
    """The body of a Service."""

    description: Description = ""


class ServiceDocument(Model):
    """A service on its own. Where files hold any, every SLO of theirs belongs to one of them."""

    api_version: Literal["openslo/v1"]
    kind: Literal["Service"]
    metadata: DocumentMetadata
    spec: ServiceSpec = ServiceSpec()
