"""SLOs over queries: a thread for each Prometheus asks it, and the tick takes what has come in.

The tick never waits for the network. An SLO without new data for the source's `staleness`, or none at all yet, has no
data: what policies read of it is unknown, and its alerts stay as they are.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from sloctl.config.daemon import PrometheusConfig
from sloctl.control.prometheus_api import PrometheusApi, QueryError, SourceError
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Objective, Query, source_of
from sloctl.slo.tiles import Coverage, Events, Points, TooManyError, expressions, tiled, until, without
from sloctl.telemetry import catalogue as c
from sloctl.telemetry.families import Family, SummaryValue
from sloctl.telemetry.timestamps import rfc3339

_FIRST_PAUSE = 1.0  # seconds after a failure; doubled with each, up to the interval
_SETTLE = 1.0  # seconds after its end in which a tile's samples come in
_SOON = 0.05  # seconds between rounds while older tiles are missing
_LATE = 10.0  # seconds until a tile is asked for again that was not there in time
_LONGEST_REACH = 400 * 86400.0

Excludes = Callable[[str, float], bool]
"""Whether what an SLO counts at a Unix time is left out of it."""

log = structlog.get_logger("sloctl.sources")


class Api(Protocol):
    """What is asked of a Prometheus."""

    def query_range(self, query: str, start: int, end: int, step: int) -> Points:
        """Values of the only series that a query gives; none without any. Raises SourceError."""


@dataclass(frozen=True, slots=True)
class Answer:
    """New events of an SLO, the stretch that is known by now, and the end of its newest tile with a value."""

    slo: str
    events: Events
    low: int
    high: int
    newest: int | None


@dataclass
class Feed:
    """One SLO, and how much of it is known."""

    objective: Objective
    step: int  # seconds of a tile
    coverage: Coverage
    newest: int | None = None
    error: str = ""  # of its own queries, while the Prometheus answers others

    def ask(self, api: Api, now: float) -> Answer | None:
        """Asks for the next stretch, None if nothing is missing at this Unix time. Raises SourceError."""
        stretch = self.coverage.wanted(now - _SETTLE)
        if stretch is None:
            return None
        after, upto = stretch
        queries = expressions(self.objective, self.step)
        good, total = (api.query_range(query, after + self.step, upto, self.step) for query in queries)
        try:
            events = tiled(self.objective, good, total, math.ceil(self.coverage.reach / self.step))
        except TooManyError as error:
            raise QueryError(str(error)) from None
        last = max(total, default=None)
        end = self.coverage.cover(after, upto, last, now)
        self.newest = max((end for end in (self.newest, last) if end is not None), default=None)
        return Answer(
            self.objective.name, until(events, end), self.coverage.low or 0, self.coverage.high or 0, self.newest
        )


class Source:
    """One Prometheus and the SLOs that are asked of it. `wall` gives Unix time; `answers` are for the tick to take."""

    def __init__(
        self, name: str, config: PrometheusConfig, api: Api, feeds: Sequence[Feed], wall: Callable[[], float]
    ) -> None:
        self.name, self.config, self.feeds = name, config, feeds
        self.answers: deque[Answer] = deque()
        self.error = "it has not answered yet"  # empty while it answers
        self.since = wall()  # of the error, or of its end
        self.rounds = self.failures = 0
        self.seconds = 0.0
        self._api, self._wall = api, wall
        self._stopped = threading.Event()
        self._pause = 0.0
        self._turns = deque(feeds)

    def start(self) -> None:
        """Begins to ask."""
        threading.Thread(target=self._run, name=f"prometheus {self.name}", daemon=True).start()

    def stop(self) -> None:
        """Ends after the request in hand."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self.round()):
            pass

    def round(self) -> float:
        """Asks for the next stretch of every SLO; returns the seconds until the next round.

        One whose query is refused costs itself only. After a failure of the Prometheus the next round begins with the
        SLO behind the one that met it, so that a query which takes too long holds up no other for ever.
        """
        begin = time.perf_counter()
        try:
            found = [self._take(self._next()) for _ in self.feeds]
        except SourceError as error:
            self.failures += 1
            self._tell(str(error))
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), self.config.interval)
            return self._pause
        finally:
            self.rounds += 1
            self.seconds += time.perf_counter() - begin
        self._tell("")
        self._pause = 0.0
        return min(found, default=self.config.interval)

    def _next(self) -> Feed:
        self._turns.rotate(-1)
        return self._turns[-1]

    def _take(self, feed: Feed) -> float:
        """Asks for the next stretch of an SLO; returns the seconds until there may be more."""
        now = self._wall()
        until_next = max(self.config.interval - (now - _SETTLE) % self.config.interval, _SOON)
        try:
            answer = None if self._stopped.is_set() else feed.ask(self._api, now)
        except QueryError as error:
            self._refused(feed, str(error))
            return until_next
        if answer is not None:
            feed.error = ""
            self.answers.append(answer)
        if feed.coverage.wanted(now - _SETTLE) is None:
            return until_next
        return min(until_next, _LATE) if feed.coverage.waits else _SOON

    def _refused(self, feed: Feed, error: str) -> None:
        self.failures += 1
        if not feed.error:
            log.warning("a query has no answer", source=self.name, slo=feed.objective.name, reason=error)
        feed.error = error

    def _tell(self, error: str) -> None:
        if bool(error) != bool(self.error):
            self.since = self._wall()
            if error:
                log.warning("a Prometheus does not answer", source=self.name, reason=error)
            else:
                log.info("a Prometheus answers", source=self.name)
        self.error = error


class Sources:
    """All sources of a set of SLOs, and what the tick has taken of them."""

    def __init__(self, sources: Sequence[Source], taken: Mapping[str, Mapping[str, Any]]) -> None:
        """`taken` is what `saved` gave, of those SLOs alone whose history goes on."""
        self._sources = sources
        self._taken = {feed.objective.name: dict(taken.get(feed.objective.name, {})) for feed in self._feeds()}
        self.reasons: dict[str, str] = {}  # why an SLO has no data, by name

    def start(self) -> None:
        """Begins to ask all of them."""
        for source in self._sources:
            source.start()

    def _feeds(self) -> list[Feed]:
        return [feed for source in self._sources for feed in source.feeds]

    def feed(self, evaluator: Evaluator, wall: float, skew: float, excludes: Excludes = lambda _, __: False) -> None:
        """Gives the evaluator what has come in; `skew` is what to add to Unix time for its axis.

        Events of an SLO at a time that `excludes` says are left out.
        """
        for source in self._sources:
            while source.answers:
                self._insert(evaluator, source.answers.popleft(), skew, excludes)
            for feed in source.feeds:
                self._judge(feed, source, wall)
                newest = self._taken[feed.objective.name].get("newest")
                if newest is not None:
                    evaluator.known(feed.objective.name, newest + skew)
        evaluator.no_data = frozenset(self.reasons)

    def _insert(self, evaluator: Evaluator, answer: Answer, skew: float, excludes: Excludes) -> None:
        events = without(answer.events, lambda at: excludes(answer.slo, at))
        evaluator.insert(answer.slo, [at + skew for at in events.times], events.good, events.total)
        self._taken[answer.slo] = {"low": answer.low, "high": answer.high, "newest": answer.newest}

    def _judge(self, feed: Feed, source: Source, wall: float) -> None:
        slo = feed.objective.name
        newest = self._taken[slo].get("newest")
        if newest is not None and wall - newest <= source.config.staleness:
            self.reasons.pop(slo, None)
            return
        since = f"no value since {rfc3339(newest)}" if newest is not None else "no value yet"
        self.reasons[slo] = f"Prometheus {source.name}: {source.error or feed.error or since}"

    def saved(self) -> dict[str, dict[str, Any]]:
        """What has been taken of each SLO."""
        return self._taken

    def families(self) -> list[Family]:
        """How the sources answer, and which SLOs have no data."""
        named = [((source.name,), source) for source in self._sources]
        return [
            Family(c.SOURCE_UP, [(name, float(not source.error)) for name, source in named]),
            Family(c.SOURCE_FAILURES, [(name, float(source.failures)) for name, source in named]),
            Family(c.SOURCE_DURATION, [(name, SummaryValue(s.rounds, s.seconds)) for name, s in named]),
        ]

    def described(self) -> list[dict[str, Any]]:
        """The sources in JSON."""
        return [
            {
                "name": source.name,
                "url": source.config.url,
                "up": not source.error,
                "since": rfc3339(source.since),
                "error": source.error,
                "slos": [feed.objective.name for feed in source.feeds],
            }
            for source in self._sources
        ]

    def stop(self) -> None:
        """Ends all threads after their requests in hand."""
        for source in self._sources:
            source.stop()


def sources(
    evaluator: Evaluator,
    known: Mapping[str, PrometheusConfig],
    folder: Path,
    saved: Mapping[str, Mapping[str, Any]],
    resumed: AbstractSet[str],
    wall: Callable[[], float],
) -> Sources:
    """The sources of an evaluator's objectives. `folder` is that of the configuration."""
    taken = {name: each for name, each in saved.items() if name in resumed}
    feeds: dict[str, list[Feed]] = {}
    for objective in evaluator.objectives:
        if isinstance(objective.indicator, Query):
            name = source_of(objective.indicator, tuple(known)) or ""
            feeds.setdefault(name, []).append(feed_of(objective, evaluator, known[name], taken.get(objective.name, {})))
    made = [Source(name, known[name], PrometheusApi(known[name], folder), each, wall) for name, each in feeds.items()]
    return Sources(made, taken)


def feed_of(objective: Objective, evaluator: Evaluator, config: PrometheusConfig, taken: Mapping[str, Any]) -> Feed:
    """An SLO to ask for: as far back as its windows and its period reach."""
    step = int(config.interval)
    span = objective.slices.seconds if objective.slices else step
    period = objective.calendar.longest if objective.calendar else objective.period_seconds
    reach = max(period, *evaluator.window_lengths(objective.name), step)
    coverage = Coverage(span, min(reach, _LONGEST_REACH), config.staleness, taken.get("low"), taken.get("high"))
    return Feed(objective, step, coverage, taken.get("newest"))
