"""What waits for an engine: an admitted request."""

import asyncio
from typing import TYPE_CHECKING, Protocol

from sloctl.engines.base import Inputs, Tensor
from sloctl.serving.errors import RequestError

if TYPE_CHECKING:
    from sloctl.serving.tracing import Trace
    from sloctl.serving.variant import Variant

Answer = tuple["Variant", dict[str, Tensor]]


class Client(Protocol):
    """As much of a connection as is asked about."""

    @property
    def disconnected(self) -> bool:
        """Whether nobody waits for the answer any more."""


class Pending:
    """An admitted request: `future` gets the variant and its rows of the outputs, or a RequestError.

    `lent` says that an input lies in memory that the client owns, and must not be kept once it has been answered.
    """

    __slots__ = (
        "client",
        "deadline",
        "enqueued",
        "future",
        "inputs",
        "lent",
        "priority",
        "rows",
        "signature",
        "token",
        "trace",
    )

    def __init__(
        self,
        inputs: Inputs,
        rows: int,
        signature: object,
        priority: int,
        deadline: float,
        enqueued: float,
        token: int,
        future: "asyncio.Future[Answer]",
        client: Client | None,
        lent: bool = False,
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.signature = signature
        self.priority = priority
        self.deadline = deadline
        self.enqueued = enqueued
        self.token = token
        self.future = future
        self.client = client
        self.lent = lent
        self.trace: Trace | None = None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.done() or (self.client is not None and self.client.disconnected)

    def reject(self, error: RequestError) -> None:
        """Ends it without a result."""
        if not self.future.done():
            self.future.set_exception(error)
