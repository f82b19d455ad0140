"""How large requests are, in rows: capacity is in rows, and so must load be."""

from sloctl.board import Topology
from sloctl.control.rates import Recent
from sloctl.telemetry import catalogue as c


class RequestSizes:
    """Mean rows of an executed request by model: of the last seconds, else as last seen; before that, of all ever.

    While all is refused, the load is still of requests as large as those before: it would seem to change otherwise.
    """

    def __init__(self, topology: Topology) -> None:
        self._variants = {model.name: model.variants for model in topology.models}
        self._known: dict[str, float] = {}

    def look(self, recent: Recent) -> None:
        """Takes what has been executed, once a tick."""
        for model, variants in self._variants.items():
            requests, total = recent.increase(c.EXECUTED_REQUESTS, model), recent.total
            if not requests and model not in self._known:  # this process has seen none, but others may have before
                requests, total = recent.newest.scalar(c.EXECUTED_REQUESTS, model), recent.newest.total
            rows = sum(total(c.BATCH_SIZE, model, variant) for variant in variants)
            if requests > 0 and rows > 0:
                self._known[model] = rows / requests

    def of(self, model: str) -> float:
        """Rows of a request; NaN before any was executed."""
        return self._known.get(model, float("nan"))
