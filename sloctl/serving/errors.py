"""Why a request gets no result, in the protocol's terms."""

import math

_REASONS = {
    400: "invalid",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_encoding",
    499: "cancelled",
    501: "unsupported",
    507: "out_of_memory",
}


class RequestError(Exception):
    """A request that ends without a result.

    `status` is the HTTP status, `outcome` one of the catalogue's OUTCOMES, `reason` a word that clients can
    branch on (by default the status' own), `retry_after` seconds after which another attempt makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        outcome: str = "invalid",
        reason: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.outcome = outcome
        self.reason = reason or _REASONS.get(status, outcome)
        self.retry_after = retry_after

    @property
    def retry_after_ms(self) -> int | None:
        """`retry_after` in whole milliseconds, rounded up: whoever waits so long does not come too early."""
        return None if self.retry_after is None else math.ceil(self.retry_after * 1000)


def invalid(message: str) -> RequestError:
    """The client's mistake: 400."""
    return RequestError(400, message)


def unavailable(reason: str, message: str, retry_after: float = 1.0) -> RequestError:
    """Nobody's mistake, and worth another attempt: 503 while starting."""
    return RequestError(503, message, outcome="unavailable", reason=reason, retry_after=retry_after)


def draining(message: str) -> RequestError:
    """The server stops, which is planned and so counted by itself: 503."""
    return RequestError(503, message, outcome="draining", reason="draining", retry_after=1.0)


def failed(reason: str, message: str) -> RequestError:
    """The engine's fault: 500."""
    return RequestError(500, message, outcome="error", reason=reason)
