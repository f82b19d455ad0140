"""SLOs over queries in the control plane, with a Prometheus that is a table."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import pytest

from sloctl.config.daemon import PrometheusConfig
from sloctl.control.prometheus_api import QueryError, SourceError
from sloctl.control.sources import Feed, Source, Sources, feed_of
from sloctl.slo.calendars import Calendar
from sloctl.slo.evaluate import Evaluator
from sloctl.slo.objective import Objective, QueryRatio, Slices
from sloctl.slo.tiles import Coverage, Points

T = 1_700_000_040
CONFIG = PrometheusConfig.model_validate({"url": "http://127.0.0.1:9090"})
SLO = Objective("fleet", "fleet", "fleet", QueryRatio("all[{{.window}}]", bad="bad[{{.window}}]"), 0.99, 3600.0)


@dataclass
class Table:
    """Good and all events by the end of their minute; `error` in place of an answer."""

    tiles: dict[int, tuple[float, float]] = field(default_factory=dict)
    error: str = ""
    asked: list[tuple[int, int]] = field(default_factory=list)

    def query_range(self, query: str, start: int, end: int, step: int) -> Points:
        if self.error:
            raise SourceError(self.error)
        side = 0 if "bad" in query else 1
        self.asked += [(start, end)] if side else []
        return {at: self.tiles[at][side] for at in range(start, end + 1, step) if at in self.tiles}


class Daemon:
    """As much of a control plane as the sources need, with a clock by hand."""

    def __init__(
        self, table: Table, objective: Objective = SLO, taken: dict[str, dict[str, int]] | None = None
    ) -> None:
        self.now = T + 2.0
        self.evaluator = Evaluator([objective], ())
        self.evaluator.advance(self.now, np.zeros(1, np.int64), np.zeros(1, np.int64))
        span = objective.slices.seconds if objective.slices else 60
        known = (taken or {}).get("fleet", {})
        feed = Feed(objective, 60, Coverage(span, 3600.0, 300.0, known.get("low"), known.get("high")))
        self.source = Source("main", CONFIG, table, [feed], lambda: self.now)
        self.sources = Sources([self.source], taken or {})

    def step(self, seconds: float = 0.0) -> float:
        """Time passes, the source is asked, the tick takes the answer; the seconds until the next question."""
        self.now += seconds
        pause = self.source.round()
        self.evaluator.advance(self.now, np.zeros(1, np.int64), np.zeros(1, np.int64))
        self.sources.feed(self.evaluator, self.now, 0.0)
        return pause


def hour(good: float, total: float, until: int = T) -> dict[int, tuple[float, float]]:
    return {until - 60 * n: (good, total) for n in range(60)}


def test_at_its_start_it_fetches_the_past_that_the_windows_need() -> None:
    table = Table(hour(90, 100))
    daemon = Daemon(table)
    assert daemon.evaluator.no_data == frozenset()  # nobody has looked yet
    daemon.step()
    assert table.asked == [(T - 3540, T)]
    assert daemon.evaluator.error_ratio("fleet", 3600) == pytest.approx(0.1)
    assert daemon.evaluator.error_ratio("fleet", 300) == pytest.approx(0.1)
    assert daemon.evaluator.events("fleet", 300)[1] == pytest.approx(500)
    assert daemon.evaluator.no_data == frozenset()


def test_then_it_asks_for_each_minute_once() -> None:
    table = Table(hour(100, 100))
    daemon = Daemon(table)
    daemon.step()
    assert daemon.source.round() == pytest.approx(59)  # a second after the minute
    table.tiles[T + 60] = (50, 100)
    daemon.step(60)
    daemon.step()
    assert table.asked[1:] == [(T + 60, T + 60)]
    assert daemon.evaluator.error_ratio("fleet", 120) == pytest.approx(0.25)


def test_a_source_that_is_gone_leaves_no_data_after_its_staleness_and_says_why() -> None:
    table = Table(hour(100, 100))
    daemon = Daemon(table)
    daemon.step()
    table.error = "connection refused"
    pauses = [daemon.step(60) for _ in range(4)]
    assert pauses == [1, 2, 4, 8]
    assert daemon.evaluator.no_data == frozenset()
    daemon.step(60)
    assert daemon.evaluator.no_data == {"fleet"}
    assert daemon.sources.reasons == {"fleet": "Prometheus main: connection refused"}
    assert daemon.sources.described()[0]["up"] is False
    table.error = ""
    table.tiles |= hour(80, 100, T + 300)
    daemon.step()
    assert daemon.evaluator.no_data == frozenset()
    assert daemon.evaluator.error_ratio("fleet", 300) == pytest.approx(0.2)  # the gap was filled


def test_short_windows_do_not_empty_while_nothing_comes_in() -> None:
    table = Table(hour(60, 100))
    daemon = Daemon(table)
    daemon.step()
    table.error = "connection refused"
    for _ in range(4):
        daemon.step(60)
        assert daemon.evaluator.error_ratio("fleet", 60) == pytest.approx(0.4)  # of the last minute that is known
        assert daemon.evaluator.error_ratio("fleet", 3600) == pytest.approx(0.4)


def test_a_source_that_answers_nothing_has_no_data_either() -> None:
    daemon = Daemon(Table())
    daemon.step()
    assert daemon.sources.reasons == {"fleet": "Prometheus main: no value yet"}
    assert daemon.step(60) == pytest.approx(10)  # it asks again for what may come late


def test_silence_is_data() -> None:
    daemon = Daemon(Table(hour(0, 0)))
    daemon.step()
    assert daemon.evaluator.no_data == frozenset()
    assert daemon.evaluator.error_ratio("fleet", 300) == 0


def test_a_restart_goes_on_where_the_tick_had_come_and_asks_only_for_the_rest() -> None:
    table = Table(hour(100, 100))
    daemon = Daemon(table)
    daemon.step()
    table.tiles |= hour(0, 100, T + 120)
    daemon.now += 120
    daemon.source.round()  # asked for, and not taken before the crash
    again = Daemon(table, taken=daemon.sources.saved())
    again.step(120)
    assert table.asked[-1] == (T + 60, T + 120)


def test_slices_are_taken_when_all_of_their_tiles_are_there() -> None:
    sliced = Objective("fleet", "f", "f", SLO.indicator, 0.99, 3600.0, slices=Slices(300, 0.99))
    bound = T // 300 * 300
    tiles = hour(100, 100)
    tiles = {end: tile for end, tile in tiles.items() if end <= bound} | {bound - 60: (0, 100)}
    daemon = Daemon(Table(tiles), sliced)
    daemon.step()
    good, total = daemon.evaluator.events("fleet", 1800)
    assert total - good == 1
    assert total in (5, 6)


@pytest.mark.parametrize("change", [lambda t: t.tiles.clear(), lambda t: setattr(t, "error", "it answers 401")])
def test_what_was_known_stays_counted_while_there_is_no_data(change: Callable[[Table], None]) -> None:
    table = Table(hour(90, 100))
    daemon = Daemon(table)
    daemon.step()
    change(table)
    for _ in range(8):
        daemon.step(60)
    assert daemon.evaluator.no_data == {"fleet"}
    assert daemon.evaluator.counted("fleet") == (pytest.approx(5400), pytest.approx(6000))


class Fleets:
    """Several SLOs of one Prometheus; `errors` by what their queries hold in place of answers."""

    def __init__(self, errors: dict[str, SourceError], value: float = 100.0) -> None:
        self.errors, self.value = errors, value

    def query_range(self, query: str, start: int, end: int, step: int) -> Points:
        for part, error in self.errors.items():
            if part in query:
                raise error
        return dict.fromkeys(range(start, end + 1, step), self.value)


def reasons_of(api: Fleets, rounds: int) -> tuple[dict[str, str], str]:
    """Why SLOs have no data, and the error of their Prometheus."""
    objectives = [
        Objective(name, "f", name, QueryRatio(f"{name}_all", bad=f"{name}_bad"), 0.99, 3600.0) for name in "abc"
    ]
    evaluator = Evaluator(objectives, ())
    evaluator.advance(T + 2.0, np.zeros(3, np.int64), np.zeros(3, np.int64))
    source = Source("main", CONFIG, api, [Feed(o, 60, Coverage(60, 3600.0, 300.0)) for o in objectives], lambda: T + 2)
    sources = Sources([source], {})
    for _ in range(rounds):
        source.round()
    sources.feed(evaluator, T + 2.0, 0.0)
    return sources.reasons, source.error


def test_a_query_that_is_refused_costs_its_own_slo_only() -> None:
    reasons, error = reasons_of(Fleets({"a_all": QueryError("it answers 422: many-to-many")}), 1)
    assert reasons == {"a": "Prometheus main: it answers 422: many-to-many"}
    assert not error


def test_a_query_that_always_takes_too_long_holds_up_the_others_for_one_round_at_most() -> None:
    reasons, error = reasons_of(Fleets({"b_all": SourceError("timed out")}), 2)
    assert reasons == {"b": "Prometheus main: timed out"}
    assert error == "timed out"


def test_more_events_than_can_be_counted_are_no_data_with_words_and_no_failing_tick() -> None:
    reasons, _ = reasons_of(Fleets({}, 1e13), 1)
    assert set(reasons) == {"a", "b", "c"}
    assert "both queries divided by 1e6" in reasons["a"]


def test_of_a_calendar_period_the_whole_is_asked_for_also_on_the_31st() -> None:
    month = replace(SLO, calendar=Calendar(1, "M", datetime(2026, 1, 1), "UTC"), period_seconds=30 * 86400.0)
    late = datetime(2026, 8, 31, 23, tzinfo=UTC).timestamp()
    asked = feed_of(month, Evaluator([month], ()), CONFIG, {}).coverage.wanted(late, most=10**6)
    assert asked is not None
    assert asked[0] <= datetime(2026, 8, 1, tzinfo=UTC).timestamp()
