"""The typed facts that expressions may name, and where their values come from.

A fact without data (no GPU, no traffic in the window, nothing measured) is NaN. Facts "of the last seconds"
are over the last 2 s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from sloctl.config.base import format_duration
from sloctl.policy.parser import parse
from sloctl.policy.syntax import Call, ExpressionError, Literal
from sloctl.telemetry.catalogue import BREAKER_STATES, CLOCKS_EVENT_REASONS, HEALTH_LEVELS

Value = float | str | bool
Args = tuple[float | str, ...]
NAN = float("nan")


class Type(StrEnum):
    """The type of an expression."""

    NUMBER = "number"
    STRING = "string"
    BOOL = "boolean"


class Domain(StrEnum):
    """What an argument, or a string fact, may be."""

    SLO = "SLO"
    VARIANT = "variant"
    PRIORITY = "priority class"
    BREAKER = "breaker state"
    CLOCKS_EVENT = "clocks event reason"
    WINDOW = "window"
    QUANTILE = "quantile"
    LAYER = "layer"
    ZONE = "time zone"
    ALERT = "alert"
    LABEL = "label"
    TEXT = "value"


Names = Mapping[Domain, tuple[str, ...]]
"""The names that exist; a domain that is absent is not checked. For WINDOW it is the longest that is kept."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact: the domains of its arguments in order (the last may be optional), its type, unit and meaning.

    `more` are arguments that may follow together, any number of times.
    """

    name: str
    args: tuple[Domain, ...]
    type: Type
    unit: str
    doc: str
    optional: bool = False
    values: Domain | None = None
    more: tuple[Domain, ...] = ()

    def domains(self, count: int) -> tuple[Domain, ...] | None:
        """The domains of `count` arguments; None where it does not take so many."""
        if not self.more or count <= len(self.args):
            return self.args[:count] if len(self.args) - self.optional <= count <= len(self.args) else None
        times, rest = divmod(count - len(self.args), len(self.more))
        return None if rest else self.args + self.more * times

    @property
    def signature(self) -> str:
        """`burn_rate(SLO, window)`, for messages and the reference."""
        shown = [str(arg) for arg in self.args]
        if self.optional:
            shown[-1] += "?"
        if self.more:
            shown.append(f"[{', '.join(self.more)}]…")
        return f"{self.name}({', '.join(shown)})" if shown else self.name


_N, _S, _B = Type.NUMBER, Type.STRING, Type.BOOL
_OF_SLO = (Domain.SLO, Domain.WINDOW)
_OF_VARIANT = (Domain.VARIANT,)
_LEVELS = len(HEALTH_LEVELS)

FACTS: tuple[Fact, ...] = (
    Fact(
        "offered_rate",
        (),
        _N,
        "1/s",
        "Requests offered a second, but for wrong ones (4xx) and those over a tenant's rate.",
    ),
    Fact("offered", (Domain.PRIORITY,), _N, "1/s", "Requests offered a second by one priority class."),
    Fact("served_rate", (), _N, "1/s", "Requests answered with a result, a second."),
    Fact(
        "offered_rows", (), _N, "row/s", "`offered_rate` times `request_rows`: the load that capacity is held against."
    ),
    Fact("capacity", _OF_VARIANT, _N, "row/s", "Measured peak of a variant (the serving one), in rows a second.", True),
    Fact("batch_time", _OF_VARIANT, _N, "s", "Time of a full batch of a variant (the serving one) at its peak.", True),
    Fact(
        "slowdown",
        _OF_VARIANT,
        _N,
        "ratio",
        "Time of a variant's batches, those after a pause aside, over what the same took when it was measured.",
        True,
    ),
    Fact(
        "request_rows",
        (),
        _N,
        "row",
        "Mean rows of an executed request of the last seconds; where none was executed in these, as it was last.",
    ),
    Fact("accuracy", _OF_VARIANT, _N, "ratio", "Accuracy of a variant (the serving one), measured.", True),
    Fact("burn_rate", _OF_SLO, _N, "ratio", "Error ratio of an SLO over its error budget, in a window."),
    Fact("slo_error_ratio", _OF_SLO, _N, "ratio", "Share of an SLO's bad events in a window."),
    Fact("events", _OF_SLO, _N, "1", "Valid events of an SLO in a window."),
    Fact("budget_remaining", (Domain.SLO,), _N, "ratio", "Share of the error budget left; negative: overspent."),
    Fact("objective", (Domain.SLO,), _N, "s", "Threshold of an SLO over request times."),
    Fact("error_budget", (Domain.SLO,), _N, "ratio", "Share of events that an SLO allows to be bad."),
    Fact(
        "time_to_exhaustion",
        _OF_SLO,
        _N,
        "s",
        "Time until an SLO's budget is gone, should it burn on as in a window; at most its period, which is never.",
    ),
    Fact("error_ratio", (), _N, "ratio", "Engine errors over executed requests."),
    Fact("latency", (Domain.QUANTILE,), _N, "s", "Quantile of the end-to-end time of answered requests."),
    Fact("queue_delay", (Domain.QUANTILE,), _N, "s", "Quantile of the time between admission and batch."),
    Fact("queue_length", (), _N, "1", "Requests that wait for a batch."),
    Fact("inflight", (), _N, "1", "Requests admitted and not yet answered."),
    Fact(
        "batch_size",
        (Domain.QUANTILE,),
        _N,
        "row",
        "Rows of the serving variant's executed batches: a quantile, or their mean.",
        True,
    ),
    Fact("device_memory_ratio", (), _N, "ratio", "Used over total memory of the device (the host's on a CPU)."),
    Fact("memory_headroom_bytes", (), _N, "bytes", "Memory that another load of the model could take."),
    Fact("process_memory_bytes", (), _N, "bytes", "Resident memory of the data plane."),
    Fact("gpu_temperature", (), _N, "°C", "Temperature of the GPU."),
    Fact("gpu_utilization", (), _N, "ratio", "Share of time in which the GPU ran a kernel."),
    Fact("gpu_power_watts", (), _N, "W", "Power that the GPU draws."),
    Fact("gpu_throttled", (), _B, "", "Whether the GPU holds its clocks down for heat or power."),
    Fact(
        "gpu_clocks_event",
        (Domain.CLOCKS_EVENT,),
        _B,
        "",
        "Whether this reason of NVML's holds the GPU's clocks, such as `sw_power_cap`.",
    ),
    Fact("gpu_xid_errors", (Domain.WINDOW,), _N, "1", "XID errors of the GPU in a window (the latest 256 count)."),
    Fact("health", _OF_VARIANT, _N, "1", f"Health levels that stand, 0 to {_LEVELS}, lowest first.", True),
    Fact("health_ok", _OF_VARIANT, _B, "", "Whether all health levels of a variant stand.", True),
    Fact("failing", _OF_VARIANT, _B, "", "Whether a level of a variant fails; one not reached yet does not.", True),
    Fact("breaker", _OF_VARIANT, _S, "", "State of the breaker of a variant, or of the model.", True, Domain.BREAKER),
    Fact("variant", (), _S, "", "The serving variant.", values=Domain.VARIANT),
    Fact("variant_index", (), _N, "1", "Place of the serving variant among the model's, 0 the first."),
    Fact("data_plane_up", (), _B, "", "Whether the data plane's heartbeat is fresh."),
    Fact(
        "layer_drift",
        (Domain.LAYER,),
        _N,
        "ratio",
        "Time of a layer of the serving variant over its own baseline (of the worst that drifts); 1: none drifts.",
        True,
    ),
    Fact(
        "alert",
        (Domain.ALERT,),
        _N,
        "1",
        "Firing alerts of a name that an Alertmanager sent to the daemon, with these values of labels.",
        more=(Domain.LABEL, Domain.TEXT),
    ),
    Fact("time_of_day", (Domain.ZONE,), _N, "h", "Hours since midnight in a time zone, 0 to 24."),
    Fact("weekday", (Domain.ZONE,), _N, "1", "Day of the week in a time zone, 1 Monday to 7 Sunday."),
    Fact("time_in_variant", (), _N, "s", "Time since the serving variant took over."),
)
BY_NAME: Mapping[str, Fact] = {fact.name: fact for fact in FACTS}


class Facts(Protocol):
    """Where the values come from."""

    def get(self, name: str, args: Args) -> Value:
        """The value of a fact, NaN without data; KeyError for a name that is none of FACTS."""


class MemoFacts:
    """Reads each fact once, so that all rules of a tick see the same values."""

    __slots__ = ("_facts", "_seen")

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._seen: dict[tuple[str, Args], Value] = {}

    def get(self, name: str, args: Args) -> Value:
        """The value as it was when it was first asked for."""
        key = (name, args)
        if key not in self._seen:
            value = self._facts.get(name, args)
            # NumPy's scalars become Python's, so that decisions can be written as JSON.
            self._seen[key] = value if isinstance(value, str | bool) else float(value)
        return self._seen[key]


class StaticFacts:
    """Facts written down, for tests and simulations: `{"latency(0.99)": 0.2}`. What is not named is NaN."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        """Raises ExpressionError for a key that is not a fact with literal arguments."""
        self._values = {fact_key(text): value for text, value in values.items()}

    def get(self, name: str, args: Args) -> Value:
        """The value written down, or NaN."""
        return self._values.get((name, args), NAN)


@lru_cache(maxsize=1024)
def fact_key(text: str) -> tuple[str, Args]:
    """Name and arguments of a fact as an expression would write it. Raises ExpressionError."""
    node = parse(text)
    if not isinstance(node, Call) or node.name not in BY_NAME:
        raise ExpressionError(f"{text!r} is not a fact", 1)
    args = tuple(arg.value for arg in node.args if isinstance(arg, Literal))
    if len(args) != len(node.args):
        raise ExpressionError("the arguments of a fact are plain values", node.column)
    return node.name, args


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class _Model(_Named, Protocol):
    @property
    def variants(self) -> Sequence[str]: ...


class _Topology(Protocol):
    @property
    def models(self) -> Sequence[_Model]: ...
    @property
    def priorities(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that exist: SLOs, `variants` by model, priority classes (highest first); `longest` in seconds is
    the longest window that SLOs keep, `timed` the SLOs over request times.

    None stands for 'not known here': such names are then not checked.
    """

    slos: tuple[str, ...] | None = None
    variants: Mapping[str, tuple[str, ...]] | None = field(default=None)
    priorities: tuple[str, ...] | None = None
    longest: float | None = None
    timed: tuple[str, ...] | None = None

    @classmethod
    def of(cls, objectives: Iterable[_Named], topology: _Topology) -> "Vocabulary":
        """The vocabulary of loaded SLOs and a daemon's topology."""
        return cls(
            slos=tuple(objective.name for objective in objectives),
            variants={model.name: tuple(model.variants) for model in topology.models},
            priorities=tuple(topology.priorities),
        )

    def names(self, model: str) -> Names:
        """The names that expressions of a model's policy may use."""
        variants = self.variants.get(model) if self.variants is not None else None
        window = (format_duration(self.longest),) if self.longest is not None else None
        known = {
            Domain.SLO: self.slos,
            Domain.VARIANT: variants,
            Domain.PRIORITY: self.priorities,
            Domain.WINDOW: window,
        }
        fixed = {Domain.BREAKER: BREAKER_STATES, Domain.CLOCKS_EVENT: CLOCKS_EVENT_REASONS}
        return {**fixed, **{d: names for d, names in known.items() if names is not None}}
