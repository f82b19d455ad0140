"""What became of the requests, request by request and in sums. Pure.

A request is exactly one of: *good* (answered with a result within the objective), *late* (answered with a
result after it), *refused* (the server said no on purpose, and at once or in time: 429, 503, 504) or *failed*
(another error, or no answer at all). Goodput is good requests a second.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sloctl.load.schedule import Schedule

_REFUSALS = frozenset({429, 503, 504})


class Fate(StrEnum):
    """What became of a request."""

    GOOD = "good"
    LATE = "late"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Record:
    """One request; times in seconds after the start of the schedule.

    `status` is the HTTP status, 0 without an answer; `reason` says why there was no result.
    """

    phase: str
    priority: str
    scheduled: float
    sent: float
    finished: float
    status: int
    variant: str | None = None
    reason: str | None = None

    @property
    def latency(self) -> float:
        """Seconds from the scheduled moment to the whole answer."""
        return self.finished - self.scheduled

    @property
    def lag(self) -> float:
        """Seconds by which the driver itself was late. It is part of the latency."""
        return self.sent - self.scheduled

    def fate(self, objective: float) -> Fate:
        """What became of it, for an objective in seconds."""
        if self.status == 200:
            return Fate.GOOD if self.latency <= objective else Fate.LATE
        return Fate.REFUSED if self.status in _REFUSALS else Fate.FAILED


@dataclass(frozen=True, slots=True)
class Summary:
    """Sums over some requests. Quantiles are of answered requests, in seconds, NaN without any.

    `unanswered` is the part of `failed` that got no answer; `variants` are shares of the answered requests;
    `good_share` is good over offered by priority class; `reasons` counts what was refused or failed.
    """

    seconds: float
    offered: int
    good: int
    late: int
    refused: int
    failed: int
    unanswered: int
    p50: float
    p99: float
    variants: Mapping[str, float]
    good_share: Mapping[str, float]
    reasons: Mapping[str, int]

    @property
    def goodput(self) -> float:
        """Requests served within the objective, a second."""
        return self.good / self.seconds if self.seconds > 0 else math.nan


def summarise(records: Iterable[Record], seconds: float, objective: float) -> Summary:
    """Sums over `records`, offered within `seconds`, against an objective in seconds."""
    records = list(records)
    fates = Counter(record.fate(objective) for record in records)
    answered = [record for record in records if record.status == 200]
    latencies = [record.latency for record in answered]
    offered = Counter(record.priority for record in records)
    good = Counter(record.priority for record in records if record.fate(objective) is Fate.GOOD)
    variants = Counter(record.variant or "unknown" for record in answered)
    return Summary(
        seconds=seconds,
        offered=len(records),
        good=fates[Fate.GOOD],
        late=fates[Fate.LATE],
        refused=fates[Fate.REFUSED],
        failed=fates[Fate.FAILED],
        unanswered=sum(record.status == 0 for record in records),
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
        variants={name: count / len(answered) for name, count in variants.most_common()},
        good_share={name: good[name] / count for name, count in offered.items()},
        reasons=dict(Counter(record.reason or str(record.status) for record in records if record.status != 200)),
    )


def by_phase(records: Iterable[Record], schedule: Schedule, objective: float) -> dict[str, Summary]:
    """A summary of each phase, in the schedule's order."""
    records = list(records)
    return {
        phase.name: summarise([r for r in records if r.phase == phase.name], phase.seconds, objective)
        for phase in schedule.phases
    }


def quantile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least a share `q` of all do not exceed (nearest rank); NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(q * len(values)) - 1, 0)]


def lag(records: Iterable[Record], q: float = 0.99) -> float:
    """Quantile of the driver's own lateness in seconds: figures are no finer than this."""
    return quantile([record.lag for record in records], q)


def first_bad_second(records: Iterable[Record], start: float, objective: float, target: float) -> float | None:
    """When the first second from `start` on began in which less than `target` of the requests were good.

    Seconds are counted from `start`, by scheduled times. None if every second was good.
    """
    seconds: dict[int, list[bool]] = {}
    for record in records:
        if record.scheduled >= start:
            good = record.fate(objective) is Fate.GOOD
            seconds.setdefault(int(record.scheduled - start), []).append(good)
    bad = [second for second, fates in seconds.items() if sum(fates) < target * len(fates)]
    return start + min(bad) if bad else None
