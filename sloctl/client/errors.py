"""What a call ends with when it has no result."""


class ThrottledError(Exception):
    """Not sent at all: the server has refused so much lately that this request was refused on the client's side."""

    def __init__(self) -> None:
        super().__init__("not sent: the server refuses most requests at the moment")


class InferenceError(Exception):
    """The server's answer without a result: HTTP `status`, `reason` for programs, `retry_after` in seconds if told."""

    def __init__(self, status: int, message: str, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.reason = reason
        self.retry_after = retry_after
