"""A breaker's states, and the commands that lead to them."""

from enum import StrEnum


class BreakerState(StrEnum):
    """The states, under the catalogue's names."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    METRICS_ONLY = "metrics_only"
    DISABLED = "disabled"


class Command(StrEnum):
    """What can be asked of a breaker. AUTO ends a state that holds and changes nothing otherwise."""

    AUTO = "auto"
    TRIP = "trip"
    HALF_OPEN = "half_open"
    CLOSE = "close"
    FORCE_OPEN = "force_open"
    DISABLE = "disable"
    METRICS_ONLY = "metrics_only"


LEADS_TO = {
    Command.TRIP: BreakerState.OPEN,
    Command.HALF_OPEN: BreakerState.HALF_OPEN,
    Command.CLOSE: BreakerState.CLOSED,
    Command.FORCE_OPEN: BreakerState.FORCED_OPEN,
    Command.DISABLE: BreakerState.DISABLED,
    Command.METRICS_ONLY: BreakerState.METRICS_ONLY,
}
HELD = frozenset({BreakerState.FORCED_OPEN, BreakerState.DISABLED, BreakerState.METRICS_ONLY})
LETS_ALL_PASS = frozenset({BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY})
