"""`tenants` of the daemon's configuration: who asks, how often they may, and their part of a queue that they share."""

import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from sloctl.config.base import Model

OTHERS = "(other)"
"""What all tenants are called together that the configuration does not name."""

UNLIMITED = "unlimited"
SLOWEST, FASTEST = 0.001, 1_000_000
TENANT_NAME = r"^[A-Za-z0-9][!-~]{0,127}$"
_TAKEN = {"connection", "content-encoding", "content-length", "content-type", "host", "te", "traceparent"}
_TAKEN |= {"inference-header-content-length", "transfer-encoding", "x-sloctl-precision", "x-sloctl-min-accuracy"}


def _header(name: str) -> str:
    name = name.lower()
    if name in _TAKEN:
        raise ValueError(f"header {name!r} has a meaning of its own; expected another one")
    if name.endswith("-bin"):
        raise ValueError("gRPC holds a header that ends in -bin for binary; expected another name")
    return name


def _rate(value: Any) -> float:
    if value == UNLIMITED:
        return math.inf
    if isinstance(value, int | float) and not isinstance(value, bool) and SLOWEST <= value <= FASTEST:
        return value
    raise ValueError(f"no rate; expected requests a second from {SLOWEST:g} to {FASTEST}, or {UNLIMITED}")


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$"), AfterValidator(_header)]
TenantName = Annotated[str, Field(pattern=TENANT_NAME)]
Rate = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_rate),
    PlainSerializer(lambda rate: UNLIMITED if rate == math.inf else rate),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": SLOWEST, "maximum": FASTEST}, {"type": "string", "const": UNLIMITED}]}
    ),
]
"""Requests a second; infinite where there is no limit."""

Burst = Annotated[int, Field(ge=1, le=1_000_000)]
Weight = Annotated[float, Field(ge=0.01, le=100)]


class Limits(NamedTuple):
    """Requests a second (infinite for no limit), how many at once, and the weight in a queue."""

    rate: float
    burst: int
    weight: float


class TenantConfig(Model):
    """What a tenant has of its own; the rest is as for all."""

    rate: Rate | None = None  # requests a second, of all models together
    burst: Burst | None = None  # by default what the rate gives in a second
    weight: Weight | None = None


class TenantsConfig(Model):
    """Tenants, told apart by a header that is believed: what stands in front of the daemon has to set it."""

    header: HeaderName = "x-sloctl-tenant"
    default: TenantName = "default"  # whose requests without the header are
    rate: Rate = Field(default=math.inf, json_schema_extra={"default": UNLIMITED})
    burst: Burst | None = None
    weight: Weight = 1.0
    # Tenants that `each` does not name. own: each has a rate and a part of the queue; shared: all of them together
    # have one; refuse: 403.
    unnamed: Literal["own", "shared", "refuse"] = "own"
    max_tracked: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000  # of those; beyond, newcomers share one rate
    each: Annotated[dict[TenantName, TenantConfig], Field(max_length=64)] = Field(default_factory=dict)

    @property
    def shared(self) -> Limits:
        """Of every tenant that has none of its own."""
        return _limits(self.rate, self.burst, self.weight)

    @property
    def limits(self) -> dict[str, Limits]:
        """Of the tenants that are named."""
        return {name: self._own(tenant) for name, tenant in self.each.items()}

    def _own(self, tenant: TenantConfig) -> Limits:
        # A rate of its own has a burst of its own: that of all would be of another size.
        inherited = self.burst if tenant.rate is None else None
        return _limits(
            self.rate if tenant.rate is None else tenant.rate,
            inherited if tenant.burst is None else tenant.burst,
            self.weight if tenant.weight is None else tenant.weight,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The tenants with series of their own, and all others."""
        return (*self.each, OTHERS)


def _limits(rate: float, burst: int | None, weight: float) -> Limits:
    if rate == math.inf:
        return Limits(rate, 1, weight)
    return Limits(rate, burst or max(math.ceil(rate), 1), weight)
