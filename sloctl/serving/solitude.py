"""Whether requests of a model come one at a time.

What arrives together shall run together, so a batch is formed at the end of the loop's turn. Where requests come alone
that is a turn for nothing: the way through the queue and back costs about as much as the run of a small model. So after
some batches of one request the next runs at once. Every few requests one waits for the turn to end all the same: if
others came with it, the solitude is over.
"""

_BELIEVED = 4  # batches of one request in a row
_EVERY = 17  # requests, of which one looks whether others come with it; a prime, or it could always be a pair's second


class Solitude:
    """Counts the batches of one request in a row."""

    __slots__ = ("_alone",)

    def __init__(self) -> None:
        self._alone = 0

    @property
    def likely(self) -> bool:
        """Whether the next request need not wait for others."""
        return self._alone >= _BELIEVED and self._alone % _EVERY != 0

    def ran(self, requests: int) -> None:
        """A batch of so many requests has run."""
        self._alone = self._alone + 1 if requests == 1 else 0

    def end(self) -> None:
        """Something is not as usual: the next requests go the long way."""
        self._alone = 0
