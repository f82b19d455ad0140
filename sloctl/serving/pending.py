"""What waits for an engine: an admitted request."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from sloctl.admission.breaker import NO_TOKEN
from sloctl.admission.gate import Ticket
from sloctl.admission.tenants import NOBODY, Tenant
from sloctl.admission.tiers import Wish
from sloctl.engines.base import Inputs, Tensor
from sloctl.serving.buckets import Cuts
from sloctl.serving.errors import RequestError
from sloctl.serving.regions import Region

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

    It is not worth running after `deadline`; `promised` is the client's own. The answer was `expected` when it came,
    of the variant that is its `basis`; None once what serves has changed, and nothing is expected any more.
    `displaces` is whether it takes the place of another one that waits.
    `lent` are the regions of inputs that lie in memory which the client owns: it must not be kept once the request has
    been answered, and may be gone before. `token` is of the model's breaker, `variant_token` of the breaker of the
    variant that runs it; either may be NO_TOKEN.
    """

    __slots__ = (
        "basis",
        "client",
        "cuts",
        "deadline",
        "displaces",
        "enqueued",
        "expected",
        "future",
        "inputs",
        "lent",
        "priority",
        "promised",
        "rows",
        "signature",
        "tenant",
        "token",
        "trace",
        "variant_token",
        "wish",
    )

    def __init__(
        self,
        inputs: Inputs,
        rows: int,
        signature: object,
        priority: int,
        deadline: float,
        enqueued: float,
        ticket: Ticket,
        future: "asyncio.Future[Answer]",
        client: Client | None,
        lent: Sequence[Region] = (),
        tenant: Tenant = NOBODY,
        wish: Wish | None = None,
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.signature = signature
        self.priority = priority
        self.deadline = ticket.until
        self.promised = deadline
        self.expected = ticket.expected
        self.basis: Variant | None = None
        self.enqueued = enqueued
        self.token = ticket.token
        self.displaces = ticket.displaces
        self.future = future
        self.client = client
        self.lent = lent
        self.tenant = tenant
        self.wish = wish
        self.cuts: Cuts = ()
        self.trace: Trace | None = None
        self.variant_token = NO_TOKEN

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.done() or (self.client is not None and self.client.disconnected)

    def still_there(self) -> RequestError | None:
        """Why it cannot be run, where the memory of its inputs is gone."""
        try:
            for region in self.lent:
                region.check()
        except RequestError as error:
            return error
        return None

    def resolve(self, answer: Answer) -> None:
        """Ends it with a result."""
        if not self.future.done():
            self.future.set_result(answer)

    def reject(self, error: RequestError) -> None:
        """Ends it without a result."""
        if not self.future.done():
            self.future.set_exception(error)
