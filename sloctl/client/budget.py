"""A retry budget: retries are a share of requests, so that they cannot multiply an overload.

A token bucket as in Finagle's RetryBudget and gRPC's retry throttling (gRFC A6): a request pays `share` of a token
in, a retry takes a whole one. Over any time retries are at most `reserve` + `share` x requests. Locking: none.
"""

_WHOLE = 1_000_000  # a token in whole parts: a tenth ten times would not be one in floating point


class RetryBudget:
    """Retries may be `share` of requests; `reserve` tokens are there at the start, no more (but one) are saved."""

    def __init__(self, share: float = 0.1, reserve: float = 10.0) -> None:
        if not (0 <= share <= 1 and reserve >= 0):
            raise ValueError(f"share is {share} and reserve {reserve}; expected 0 to 1, and not less than 0")
        self._income = int(share * _WHOLE)
        self._most = self._parts = int(reserve * _WHOLE)

    def pay_in(self) -> None:
        """A request was sent for the first time."""
        self._parts = min(self._parts + self._income, max(self._most, _WHOLE))

    @property
    def left(self) -> bool:
        """Whether a retry could be paid for."""
        return self._parts >= _WHOLE

    def take(self) -> bool:
        """Whether a retry may be sent, which is then paid for."""
        if not self.left:
            return False
        self._parts -= _WHOLE
        return True
