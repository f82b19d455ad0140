"""`kind: ServiceLevel`, sloctl's own short form of SLOs, and its objectives."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from sloctl.config.base import Duration, Model, format_duration
from sloctl.slo.alarms import unfirable
from sloctl.slo.alert_texts import Texts
from sloctl.slo.maintenance import ExclusionSpec
from sloctl.slo.objective import BudgetStep, Objective, Tier, thresholds
from sloctl.slo.openslo_alerting import DocumentMetadata, Name
from sloctl.slo.vocabulary import indicator, metric_of
from sloctl.slo.windows import AlertWindow
from sloctl.telemetry.buckets import in_range

Loc = tuple[str | int, ...]


def _expression(text: str) -> str:
    metric_of(text)
    return text


_PERCENT = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,20})?)%")


def _share(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    percent = _PERCENT.fullmatch(value)
    if percent is None:
        raise ValueError("expected a share such as 99.9% or 0.999")
    return float(Decimal(percent[1]) / 100)


_SHARE_FORM = WithJsonSchema(
    {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$"},
        ],
        "examples": ["99.9%", 0.999],
    }
)


Expression = Annotated[str, AfterValidator(_expression)]
Labels = dict[str, str | Annotated[list[str], Field(min_length=1)]]
Period = Annotated[Duration, Field(ge=3600, le=366 * 86400)]


class BadTime(Model):
    """At most `max` of the time `per` period may be bad, which it is while `when` holds."""

    when: Expression
    max: Annotated[Duration, Field(gt=0)]
    per: Period

    @model_validator(mode="after")
    def _less(self) -> "BadTime":
        if self.max >= self.per:
            raise ValueError("max is not shorter than per; expected a part of the period")
        indicator(self.when, {}, bad=True)
        return self


class Pair(Model):
    """A pair of windows: `share` of the budget is gone once `long` has burned at its factor."""

    share: Annotated[float, BeforeValidator(_share), Field(gt=0, le=1), _SHARE_FORM]
    long: Annotated[Duration, Field(ge=1)]
    short: Annotated[Duration, Field(ge=1)]

    @model_validator(mode="after")
    def _ordered(self) -> "Pair":
        if self.short > self.long:
            raise ValueError("the short window must not be longer than the long one")
        return self


class Alert(Model):
    """What the alerts of one severity are called and carry, over which windows, or that there are none."""

    disable: bool = False
    name: str = ""
    labels: Texts = Field(default_factory=dict)
    annotations: Texts = Field(default_factory=dict)
    windows: Annotated[list[Pair], Field(max_length=5)] = Field(default_factory=list)

    def tier(self, severity: Literal["page", "ticket"], period: float) -> Tier | None:
        """As objectives have it; `period` is the SLO's, in seconds."""
        pairs = tuple(
            AlertWindow(f"{severity}-{number}", severity, pair.share, pair.long, pair.short, period)
            for number, pair in enumerate(self.windows, 1)
        )
        return None if self.disable else Tier(self.name, self.labels, self.annotations, pairs)


# One objective for each value of one label.
Each = Annotated[
    dict[str, Annotated[list[Name], Field(min_length=1, max_length=32)]], Field(min_length=1, max_length=1)
]


class ObjectiveSpec(Model):
    """One objective: `sli` with its `target`, or `badTime`."""

    name: Name
    sli: Expression | None = None
    target: Annotated[float, BeforeValidator(_share), Field(gt=0, lt=1), _SHARE_FORM] | None = None
    bad_time: BadTime | None = None
    period: Period | None = None
    labels: Labels = Field(default_factory=dict)
    each: Each | None = None
    minimum_events: Annotated[int, Field(ge=0, le=10**9)] = 0
    alerts: dict[Literal["page", "ticket"], Alert] = Field(default_factory=dict)
    description: str = ""

    @model_validator(mode="after")
    def _one(self) -> "ObjectiveSpec":
        if (self.sli is None) == (self.bad_time is None):
            raise ValueError("expected either sli with target, or badTime")
        if (self.sli is None) != (self.target is None):
            raise ValueError("expected a target with sli, and none with badTime, which has its own")
        if self.bad_time is not None and self.period is not None:
            raise ValueError("expected no period with badTime, whose period is per")
        return self

    @property
    def expression(self) -> str:
        """The indicator, good or bad."""
        return self.bad_time.when if self.bad_time else self.sli or ""


_LEFT_FORM = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?%$"}]})


class BudgetPolicy(Model):
    """A step: once less than `below` of an error budget is left, an alert says `message`, and `action` is taken.

    The action is one of a policy's rules; it ends when a twentieth of the budget more is left again.
    """

    name: Name
    below: Annotated[float, BeforeValidator(_share), Field(ge=-10, le=1), _LEFT_FORM]
    message: Annotated[str, Field(min_length=1, max_length=500)]
    severity: Literal["page", "ticket"] = "ticket"
    action: dict[str, Any] | None = None


class ServiceLevelSpec(Model):
    """The body. `model` is the label of that name of every indicator that has one."""

    service: Name | None = None
    model: str | None = None
    period: Period = 30 * 86400.0
    objectives: Annotated[list[ObjectiveSpec], Field(min_length=1, max_length=100)]
    exclusions: Annotated[list[ExclusionSpec], Field(max_length=100)] = Field(default_factory=list)
    budget_policies: Annotated[list[BudgetPolicy], Field(max_length=10)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _steps(self) -> "ServiceLevelSpec":
        names = [step.name for step in self.budget_policies]
        if len(set(names)) != len(names):
            raise ValueError("a budget policy is named twice")
        if self.model is None and any(step.action for step in self.budget_policies):
            raise ValueError("a budget policy with an action needs the model that it is about; expected model: …")
        return self


class ServiceLevel(Model):
    """A whole document."""

    api_version: Literal["sloctl/v1"]
    kind: Literal["ServiceLevel"]
    metadata: DocumentMetadata
    spec: ServiceLevelSpec


def objectives(document: ServiceLevel) -> tuple[Objective, ...]:
    """The objectives of a document that `check` finds nothing wrong with, named `<document>-<objective>`."""
    return tuple(objective for _, objective in _placed(document))


def names(document: ServiceLevel) -> list[tuple[Loc, str]]:
    """The name of every objective, in order, and where it is written."""
    return [
        (("spec", "objectives", index, "name"), name)
        for index, written in enumerate(document.spec.objectives)
        for name, _ in _expanded(document, written)
    ]


def check(document: ServiceLevel, windows: Sequence[AlertWindow], *, whole: bool) -> list[tuple[Loc, str]]:
    """What is wrong with a document that fits the format."""
    found = [*_label_problems(document)]
    for index, objective in _placed(document) if whole and not found else ():
        at: Loc = ("spec", "objectives", index)
        beyond = [value for value in thresholds([objective]) if not in_range(value)]
        if beyond:
            found.append((at, f"{beyond[0]:g} s is outside the histogram; expected 10us to 100s"))
        elif message := unfirable(objective, windows):
            found.append((at, message))
        found += [((*at, "alerts", severity), message) for severity, message in _window_problems(objective)]
    return found


def _window_problems(objective: Objective) -> Iterator[tuple[str, str]]:
    for severity, tier in objective.tiers.items():
        for pair in tier.windows if tier else ():
            if pair.long > objective.period_seconds:
                yield severity, f"a window of {format_duration(pair.long)} is longer than the period"
            elif round(pair.share * objective.period_seconds / pair.long, 9) < 1:
                yield severity, f"a share of {pair.share:.2%} over {format_duration(pair.long)} is within the budget"


def _label_problems(document: ServiceLevel) -> Iterator[tuple[Loc, str]]:
    for index, written in enumerate(document.spec.objectives):
        metric, at = metric_of(written.expression), ("spec", "objectives", index)
        given = [((*at, "labels", label), label) for label in written.labels]
        given += [((*at, "each", label), label) for label in written.each or {}]
        for loc, label in given:
            if label not in metric.labels:
                has = ", ".join(metric.labels) or "none"
                yield loc, f"{metric.name} has no label {label!r}; expected one of {has}"


def _placed(document: ServiceLevel) -> Iterator[tuple[int, Objective]]:
    for index, written in enumerate(document.spec.objectives):
        for name, labels in _expanded(document, written):
            yield index, _objective(document, written, name, labels)


def _expanded(document: ServiceLevel, written: ObjectiveSpec) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """Names and labels: one, or one for each value."""
    name, model = f"{document.metadata.name}-{written.name}", document.spec.model
    labels = {key: (value,) if isinstance(value, str) else tuple(value) for key, value in written.labels.items()}
    if model is not None and "model" in metric_of(written.expression).labels:
        labels = {"model": (model,)} | labels
    if written.each is None:
        yield name, labels
        return
    for label, values in written.each.items():
        for value in values:
            yield f"{name}-{value}", labels | {label: (value,)}


def _objective(
    document: ServiceLevel, written: ObjectiveSpec, name: str, labels: dict[str, tuple[str, ...]]
) -> Objective:
    spec, bad = document.spec, written.bad_time
    own = {k: v if isinstance(v, str) else ",".join(v) for k, v in document.metadata.labels.items()}
    period = bad.per if bad else written.period or spec.period
    return Objective(
        name=name,
        service=spec.service or document.metadata.name,
        display_name=written.name,
        indicator=indicator(written.expression, labels, bad=bad is not None),
        target=1 - bad.max / bad.per if bad else written.target or 0.0,
        period_seconds=period,
        labels=own,
        annotations={"description": written.description} if written.description else {},
        tiers={severity: alert.tier(severity, period) for severity, alert in written.alerts.items()},
        minimum_events=written.minimum_events,
        budget_steps=tuple(BudgetStep(s.name, s.below, s.message, s.severity) for s in spec.budget_policies),
        exclusions=tuple(each.exclusion(f"planned in {document.metadata.name}") for each in spec.exclusions),
        origin=document.api_version,
    )
