"""What an error of a client library says about the server: did it take the request on, and is another attempt worth it.

Known are `InferenceError` of this package, tritonclient's exceptions (HTTP and gRPC, also asyncio), grpc's own, and
connections that fail, break off or time out. None of those libraries is imported. Anything else counts as an answer.
"""

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import BadStatusLine, IncompleteRead
from socket import gaierror
from typing import Any

from sloctl.client.errors import InferenceError

_DEADLINE = "deadline"  # that reason: the same request cannot make it, however soon it comes again
_AGAIN = (429, 502, 503)
_REFUSED = (*_AGAIN, 504)
_BROKEN = (ConnectionError, TimeoutError, gaierror, BadStatusLine, IncompleteRead)  # or breaks off
_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}  # Python has no classes for these
_PUSHBACK, _REASON = "grpc-retry-pushback-ms", "sloctl-reason"


@dataclass(frozen=True, slots=True)
class Failure:
    """`again`: the same request may be sent again, `after` seconds at the earliest. `accepted`: it was taken on."""

    reason: str
    again: bool
    accepted: bool
    after: float = 0.0


ANSWERED = Failure("", again=False, accepted=True)
UNREACHABLE = Failure("unreachable", again=True, accepted=False)


def describe(error: BaseException) -> Failure:
    """What an exception says."""
    if isinstance(error, InferenceError):
        return of_http(error.status, error.reason, error.retry_after)
    # tritonclient raises its own error "from None", where only the context still has the trailing metadata.
    # Any other context is of something else, which the caller was just handling.
    for each in (error, error.__context__ if error.__suppress_context__ else None):
        if callable(getattr(each, "trailing_metadata", None)) and callable(getattr(each, "code", None)):
            return _of_call(each)
    status = getattr(error, "status", None)
    if callable(status):  # tritonclient's InferenceServerException: "503", "StatusCode.UNAVAILABLE" or None
        return _of_triton(str(status()))
    lost = isinstance(error, _BROKEN) or (isinstance(error, OSError) and error.errno in _NO_WAY)
    return UNREACHABLE if lost else ANSWERED


def of_http(status: int, reason: str = "", after: float | None = None) -> Failure:
    """What an HTTP answer says; `after` is its Retry-After in seconds."""
    again = status in _AGAIN and reason != _DEADLINE
    return Failure(reason or str(status), again, accepted=status not in _REFUSED, after=max(after or 0.0, 0.0))


def of_grpc(code: str, trailers: Iterable[tuple[str, str | bytes]] = ()) -> Failure:
    """What a gRPC status (its name) and its trailing metadata say; a negative pushback forbids retries (gRFC A6)."""
    told = {name: value for name, value in trailers if isinstance(value, str)}
    pushback = _milliseconds(told[_PUSHBACK]) if _PUSHBACK in told else None
    # RESOURCE_EXHAUSTED is also said of a message that is too large, which no waiting makes smaller.
    exhausted = code == "RESOURCE_EXHAUSTED" and pushback is not None
    refused = exhausted or code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    again = refused and code != "DEADLINE_EXCEEDED" and (pushback is None or pushback >= 0)
    return Failure(told.get(_REASON, code.lower()), again, accepted=not refused, after=max(pushback or 0.0, 0.0))


def _milliseconds(text: str) -> float:
    try:
        return int(text) / 1000
    except ValueError:
        return -1.0  # unparseable is as good as negative, says gRFC A6


def _of_call(call: Any) -> Failure:
    return of_grpc(call.code().name, call.trailing_metadata() or ())


def _of_triton(status: str) -> Failure:
    if status.isdigit():
        return of_http(int(status))
    return of_grpc(status.removeprefix("StatusCode."))
