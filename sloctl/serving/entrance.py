"""Where requests of a model are let in: the gate with what it has to know, which is learned from every batch.

A request is let in if it is nearly sure to be answered within the objective: its predicted wait and a learned slack
have to fit. So the queue holds what can be answered in time, whatever is offered, and no control plane is needed for
it. The concurrency limit stands behind that, for waits that no latency table knows of.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from sloctl.admission.breaker import Breaker
from sloctl.admission.gate import Gate, Refusal, Ticket
from sloctl.admission.limit import TOLERANCE, Aimd, Fixed, Gradient, Limit
from sloctl.admission.slack import Slack
from sloctl.config.daemon import ModelConfig
from sloctl.serving.pending import Pending
from sloctl.serving.variant import Variant

_PATIENCE = 50e-3  # seconds; a request that takes no longer is no reason to refuse others
_MEMORY = 0.1  # of the mean rows of a request


@dataclass(slots=True)
class _Estimates:
    """What is learned about a variant: its limit, and how far its predictions fall short."""

    limit: Limit
    slack: Slack


class Entrance:
    """One model's. Not thread-safe."""

    def __init__(self, config: ModelConfig, classes: int, breaker: Breaker) -> None:
        self.gate = Gate(classes, breaker)
        self.bound = 0  # requests in flight that the control plane allows; 0: as many as the limit does
        self.target = config.admission.seconds
        self._config = config
        self._most = config.max_queue
        self._patience = min(_PATIENCE, self.target / (2 * TOLERANCE))
        self._classes = classes
        self._estimates: dict[str, _Estimates] = {}
        self._rows = 1.0  # of a request, in the mean

    def full(self, variant: Variant, inflight: int, own: int, queued: int) -> bool:
        """Whether one more request would be one too many, in flight or waiting.

        `own` are those of `inflight` that do not wait for another variant. A limit that was learned is about these, as
        one that is slower has a lower one; a number in the configuration is about all.
        """
        limit = self._of(variant).limit
        mine = inflight if isinstance(limit, Fixed) else own
        return mine >= limit.value or queued >= self._most or 0 < self.bound <= inflight

    def admit(
        self,
        now: float,
        priority: int,
        deadline: float,
        started: float,
        variant: Variant,
        wait: float,
        *,
        full: bool,
        apart: bool,
    ) -> Ticket | Refusal:
        """A ticket or why not; `wait` is the predicted time until its own batch is done. See `Gate.admit`."""
        slack = self._of(variant).slack.values[priority]
        # Who took long to send it is not refused for that, which would be for good and on an idle device, too.
        since = started if now - started <= self._patience else now
        return self.gate.admit(now, priority, deadline, since + self.target, wait, slack, full=full, apart=apart)

    def refusal(
        self, now: float, priority: int, deadline: float, variant: Variant, wait: float, *, full: bool, apart: bool
    ) -> Refusal | None:
        """Why a request that came just now is refused, if that can be told without letting it in (`Gate.refusal`)."""
        slack = self._of(variant).slack.values[priority]
        return self.gate.refusal(now, priority, deadline, now + self.target, wait, slack, full=full, apart=apart)

    def learn(self, variant: Variant, batch: list[Pending], rows: int, now: float, inflight: int) -> None:
        """A batch came back."""
        estimates, cost, requests = self._of(variant), variant.cost, len(batch)
        if self.target == math.inf and 2 * inflight < estimates.limit.value:
            oldest = batch[0].enqueued  # and where even it was not long here, there is nothing to learn
            if requests == 1 and now - oldest <= self._patience:
                return
        self._rows += _MEMORY * (rows / requests - self._rows)
        # What came while another variant served tells of that one's queue, and nothing was expected of this one.
        told = [pending for pending in batch if pending.basis is variant]
        if not told:
            return
        mean = now - sum([pending.enqueued for pending in told]) / len(told)
        estimates.limit.observe(mean, self._baseline(variant), inflight, self._least(variant))
        if self.target == math.inf:
            return
        slack = estimates.slack
        for index in {pending.priority for pending in told}:
            expected = [pending.expected for pending in told if pending.priority == index]
            latest = now - slack.values[index]
            slack.observe(index, sum([when < latest for when in expected]), len(expected), cost.full, self.target / 2)

    def missed(self, variant: Variant, late: Iterable[Pending]) -> None:
        """Requests were admitted and could not be run in time."""
        slack = self._of(variant).slack
        if self.target < math.inf:
            for pending in late:
                if pending.basis is variant:
                    slack.observe(pending.priority, 1, 1, variant.cost.full, self.target / 2)

    def _of(self, variant: Variant) -> _Estimates:
        found = self._estimates.get(variant.name)
        if found is None:
            found = _Estimates(self._new_limit(variant), Slack(self._classes, min(variant.cost.full, self.target / 2)))
            if variant.loaded is not None:
                self._estimates[variant.name] = found
        return found

    def _new_limit(self, variant: Variant) -> Limit:
        kind = self._config.admission.limit
        if isinstance(kind, int):
            return Fixed(kind)
        if kind == "off":
            return Fixed()
        carried = TOLERANCE * self._baseline(variant) * variant.cost.capacity
        most = self._config.max_queue + self._least(variant)
        return (Gradient if kind == "gradient" else Aimd)(max(carried, self._least(variant)), most)

    def _baseline(self, variant: Variant) -> float:
        """Seconds of a request that waits for one batch and runs in the next."""
        return max(2 * variant.cost.full, self._patience)

    def _least(self, variant: Variant) -> float:
        """Requests with which the device stays busy: a full batch in each of its contexts, and one that forms."""
        return math.ceil((variant.concurrency + 1) * self._config.max_batch / self._rows)
