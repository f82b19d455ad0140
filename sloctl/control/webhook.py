"""Alertmanager's webhook payload, version 4, into notices: bounded, typed, and refused with words.

Fields that a notice does not need are passed over, so that a newer Alertmanager may add some. The format is
`webhook_config` in Alertmanager's configuration reference; a firing alert has `endsAt` 0001-01-01T00:00:00Z.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

MOST_ALERTS = 1000  # of one notification
_LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Text = Annotated[str, msgspec.Meta(max_length=1024)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class WebhookError(ValueError):
    """A payload that cannot be taken; the message says what was expected, and where."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a notification says of one alert. Times are Unix seconds; `ends` is inf where none is known."""

    fingerprint: str
    labels: dict[str, str]
    starts: float
    ends: float
    firing: bool


@dataclass(frozen=True, slots=True)
class Notification:
    """One message: its notices, and how many alerts the sender left out of it (`max_alerts` of its receiver)."""

    notices: tuple[Notice, ...]
    truncated: int


class _Alert(msgspec.Struct, rename="camel"):
    status: Literal["firing", "resolved"]
    fingerprint: _Name
    labels: Annotated[dict[_Name, _Text], msgspec.Meta(min_length=1, max_length=64)]
    starts_at: _Time
    ends_at: _Time | None = None


class _Message(msgspec.Struct, rename="camel"):
    version: Literal["4"]
    alerts: Annotated[list[_Alert], msgspec.Meta(max_length=MOST_ALERTS)]
    truncated_alerts: Annotated[int, msgspec.Meta(ge=0)] = 0


_decoder = msgspec.json.Decoder(_Message)


def decode(body: bytes) -> Notification:
    """The notification in a request's body. Raises WebhookError."""
    try:
        message = _decoder.decode(body)
        return Notification(tuple(_notice(alert) for alert in message.alerts), message.truncated_alerts)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise WebhookError(f"expected an Alertmanager's webhook payload, version 4: {error}") from None


def _notice(alert: _Alert) -> Notice:
    starts = alert.starts_at.timestamp()
    ends = alert.ends_at.timestamp() if alert.ends_at else -math.inf
    if not 0 <= starts <= _LATEST:
        raise ValueError(f"startsAt of alert {alert.fingerprint!r} lies outside the years 1970 to 9000")
    # Go's zero time, and other nonsense, is an end that is not known.
    return Notice(
        alert.fingerprint, alert.labels, starts, ends if 0 < ends <= _LATEST else math.inf, alert.status == "firing"
    )
