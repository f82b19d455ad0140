"""`kind: Test`: what SREs expect of their SLOs and policies."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from sloctl.cases.series import expanded, selector_of
from sloctl.config.base import Duration, Metadata, Model, format_duration
from sloctl.policy.facts import fact_key
from sloctl.policy.syntax import ExpressionError

_MOST_SAMPLES = 100_000


def _number(value: object) -> object:
    if isinstance(value, str) and value.endswith("%"):
        return float(value[:-1]) / 100
    return value


_NUMBER_FORM = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9.]+%$"}]})
Number = Annotated[float, BeforeValidator(_number), _NUMBER_FORM]
Window = Annotated[str, Field(pattern=r"^[0-9a-z]+$")]


class FiringAlert(Model):
    """An alert on a burn rate that fires."""

    slo: str
    tier: str


class Expectation(Model):
    """What must hold at a time; numbers within `tolerance`, a share of them.

    `alerts` are all burn-rate alerts that fire then, `decisions` (`RULE: ACTION`) all that were taken until then.
    """

    at: Annotated[Duration, Field(ge=0)]
    slo: str | None = None
    error_ratio: dict[Window, Number] = Field(default_factory=dict)
    burn_rate: dict[Window, Number] = Field(default_factory=dict)
    budget_remaining: Number | None = None
    alerts: list[FiringAlert] | None = None
    decisions: list[str] | None = None
    precision: str | None = None
    tiers: dict[str, str] | None = None  # variants by class
    admit: dict[str, Number] | None = None
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-6

    @model_validator(mode="after")
    def _about(self) -> "Expectation":
        of_slo = bool(self.error_ratio or self.burn_rate) or self.budget_remaining is not None
        if of_slo and self.slo is None:
            raise ValueError("errorRatio, burnRate and budgetRemaining are of an SLO; expected slo: NAME")
        others = (self.alerts, self.decisions, self.precision, self.tiers, self.admit)
        if not of_slo and all(each is None for each in others):
            raise ValueError("nothing is expected; expected errorRatio, burnRate, alerts, decisions, …")
        return self


class Case(Model):
    """Series of metrics and of facts by their names, in promtool's notation, and what must come of them."""

    name: Annotated[str, Field(min_length=1)]
    series: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, str] = Field(default_factory=dict)
    expect: Annotated[list[Expectation], Field(min_length=1)]

    @model_validator(mode="after")
    def _readable(self) -> "Case":
        for name, values in self.series.items():
            selector_of(name)
            expanded(values, _MOST_SAMPLES)
        for name, values in self.facts.items():
            try:
                fact_key(name)
            except ExpressionError as error:
                raise ValueError(f"fact {name!r}: {error}") from None
            expanded(values, _MOST_SAMPLES)
        return self


class TestSpec(Model):
    """Files are relative to this one. A sample comes every `interval`, the first at 0."""

    __test__ = False  # pytest

    slos: list[str] = Field(default_factory=list)
    windows: str | None = None
    policies: list[str] = Field(default_factory=list)
    priorities: Annotated[list[str], Field(min_length=1, default_factory=lambda: ["high", "normal", "low"])]
    interval: Annotated[Duration, Field(gt=0)] = 60.0
    tests: Annotated[list[Case], Field(min_length=1)]

    @model_validator(mode="after")
    def _bounded(self) -> "TestSpec":
        last = max(wanted.at for case in self.tests for wanted in case.expect)
        if last / self.interval > _MOST_SAMPLES:
            raise ValueError(f"at {format_duration(last)} there would be more than {_MOST_SAMPLES} samples before")
        return self


class TestDocument(Model):
    """A whole document."""

    __test__ = False  # pytest

    api_version: Literal["sloctl/v1"]
    kind: Literal["Test"]
    metadata: Metadata
    spec: TestSpec
