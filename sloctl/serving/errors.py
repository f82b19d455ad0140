"""Why a request gets no result, in the protocol's terms."""


class RequestError(Exception):
    """A request that ends without a result.

    `status` is the HTTP status, `outcome` one of the catalogue's OUTCOMES, `reason` a word that clients can
    branch on, `retry_after` seconds after which another attempt makes sense.
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
        self.reason = reason
        self.retry_after = retry_after


def invalid(message: str) -> RequestError:
    """The client's mistake: 400."""
    return RequestError(400, message)


def unavailable(reason: str, message: str, retry_after: float = 1.0) -> RequestError:
    """Nobody's mistake, and worth another attempt: 503 while starting or draining."""
    return RequestError(503, message, outcome="unavailable", reason=reason, retry_after=retry_after)


def failed(reason: str, message: str) -> RequestError:
    """The engine's fault: 500."""
    return RequestError(500, message, outcome="error", reason=reason)
