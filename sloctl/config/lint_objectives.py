"""Lints of single objectives: targets, periods, windows and thresholds that do not fit each other."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sloctl.config.base import format_duration
from sloctl.config.problems import Code, Problem
from sloctl.config.sources import Document, Loc
from sloctl.slo.alarms import lengths_of, never_fires
from sloctl.slo.objective import Objective, Query, QueryThreshold, Ratio, Threshold
from sloctl.slo.promql import QUERY_STEP, is_sampled
from sloctl.slo.windows import Alarm
from sloctl.telemetry import catalogue as c

_UNIT_RANGE = {metric.name for metric in (c.DEVICE_MEMORY_RATIO, c.HEALTH_LEVEL, c.READY, c.DEVICE_UP)}
_SAMPLES = 4  # that the shortest window of a rule should hold, so that one may be lost


@dataclass(frozen=True)
class Limits:
    """Of where SLOs are kept, in seconds: how long a Prometheus keeps samples (None: not known), how often it takes
    them, and how many events a second there are (None: not known).
    """

    retention: float | None = None
    scrape: float = 15.0
    rate: float | None = None


@dataclass(frozen=True)
class Placed:
    """An objective, and where it, its target and its period are written."""

    document: Document
    objective: Objective
    at: Loc
    target: Loc
    period: Loc

    def problem(self, loc: Loc, code: Code, message: str, expected: str) -> Problem:
        """A problem at a place of the document."""
        return self.document.problem(loc, code, message, expected)


def lint_objective(placed: Placed, alarms: Sequence[Alarm], limits: Limits) -> Iterator[Problem]:
    """Every warning about an objective with these alerts."""
    for lint in _LINTS:
        yield from lint(placed, alarms, limits)


def _unfirable(placed: Placed, alarms: Sequence[Alarm], _: Limits) -> Iterator[Problem]:
    objective = placed.objective
    if message := never_fires(objective, alarms):  # of the formats where this is no error
        yield placed.problem(placed.target, Code.UNFIRABLE_ALERT, message, "alerts that can fire, or none")
    step = _step(objective)
    if step is None:
        return
    for alarm in alarms:
        most = int(alarm.long / step)
        if alarm.minimum > most:
            message = f"{alarm.name!r} can never fire: its window of {format_duration(alarm.long)} holds {most} events"
            expected = f"minimumEvents of at most {most}"
            yield placed.problem((*placed.at, "minimumEvents"), Code.UNFIRABLE_ALERT, message, expected)
            return


def _step(objective: Objective) -> float | None:
    """Seconds from event to event where they come by the clock; None where traffic makes them."""
    if objective.slices is not None:
        return float(objective.slices.seconds)
    if isinstance(objective.indicator, QueryThreshold):
        return QUERY_STEP
    counted = isinstance(objective.indicator, Ratio)  # counts at a moment are many events a second
    return 1.0 if is_sampled(objective.indicator) and not counted else None


def _whole_slots(objective: Objective) -> float | None:
    """Seconds of the slots of which each is good or bad as a whole; None where there are none."""
    if objective.slices is not None:
        return float(objective.slices.seconds) if objective.slices.target is not None else None
    return _step(objective) if isinstance(objective.indicator, Threshold | QueryThreshold) else None


def _coarse(placed: Placed, _: Sequence[Alarm], __: Limits) -> Iterator[Problem]:
    objective = placed.objective
    slot = _whole_slots(objective)
    if slot is None:
        return
    slots = objective.period_seconds / slot
    allowed = slots * objective.budget
    if allowed < 1 - 1e-9:
        each, period = format_duration(slot), format_duration(objective.period_seconds)
        message = (
            f"of {slots:.0f} slices of {each} in {period} only {allowed:.2g} may be bad: the first one is a breach"
        )
        yield placed.problem(placed.target, Code.COARSE_SLICES, message, f"at most {_floor(1 - 1 / slots)}, {_FINER}")


_FINER = "shorter slices, or a longer period"


def _floor(share: float, digits: int = 6) -> str:
    return f"{math.floor(share * 10**digits + 1e-9) / 10**digits:.12g}"


def _rounded(placed: Placed, _: Sequence[Alarm], __: Limits) -> Iterator[Problem]:
    """A target that is `k` bad slices a period, rounded up, so that `k` are a breach."""
    objective = placed.objective
    slot = _whole_slots(objective)
    if slot is None or (objective.calendar and objective.calendar.unit in "MQY"):
        return
    slot = max(slot, 60.0)  # seconds are meant in minutes
    slots = objective.period_seconds / slot
    exponent = Decimal(str(objective.target)).as_tuple().exponent
    digits = -int(exponent)
    half = 0.5 * 10.0**-digits * slots  # what rounding may have taken
    allowed = objective.budget * slots
    bad = round(allowed)
    if bad >= 1 and half < 0.1 and 1e-9 < bad - allowed <= half * 1.000001:
        each, period = format_duration(slot), format_duration(objective.period_seconds)
        message = (
            f"{objective.target:.12g} allows {allowed:.6g} bad slices of {each} in {period}: {bad - 1} whole ones, "
            f"and number {bad} is a breach"
        )
        expected = f"{_floor(1 - bad / slots, digits)} for {bad} bad ones"
        yield placed.problem(placed.target, Code.ROUNDED_TARGET, message, expected)


def _few_events(placed: Placed, alarms: Sequence[Alarm], limits: Limits) -> Iterator[Problem]:
    """Pages that one bad event sets off."""
    objective = placed.objective
    if _step(objective) is not None:
        return
    found = []
    for alarm in alarms:
        events = float(alarm.minimum)
        if limits.rate is not None:
            events = max(events, limits.rate * alarm.long)
        if alarm.severity != "ticket" and events and alarm.exceeded(1 / (events * objective.budget)):
            found.append((math.floor(1 / (alarm.factor * objective.budget) + 1e-9) + 1, events, alarm))
    if not found:
        return
    needed, events, alarm = max(found, key=lambda one: one[0])
    message = (
        f"one bad event among {events:.4g} burns {1 / (events * objective.budget):.3g} times too fast, and "
        f"{alarm.name!r} fires above {alarm.factor:.3g}"
    )
    at = (*placed.at, "minimumEvents") if alarm.minimum else placed.target
    yield placed.problem(at, Code.TOO_FEW_EVENTS, message, f"minimumEvents: {needed} or more, or a lower target")


def _minute(placed: Placed, _: Sequence[Alarm], __: Limits) -> Iterator[Problem]:
    written = placed.document.get(placed.period)
    if isinstance(written, str) and re.fullmatch(r"\d+m", written) and placed.objective.period_seconds < 3600:
        period = format_duration(placed.objective.period_seconds)
        months = int(written[:-1])
        rolling = placed.objective.calendar is None
        meant = f"{30 * months}d, since a rolling month has no fixed length" if rolling else f"{months}M"
        message = f"a period of {written} is {period}, since m are minutes; did you mean {meant}?"
        yield placed.problem(placed.period, Code.MINUTE_OR_MONTH, message, "a period of an hour or more")


def _constant(placed: Placed, _: Sequence[Alarm], __: Limits) -> Iterator[Problem]:
    """Thresholds beyond 0 to 1 of what lies between them."""
    indicator = placed.objective.indicator
    if not isinstance(indicator, Threshold) or indicator.selector.metric not in _UNIT_RANGE:
        return
    holds = {
        "lte": (indicator.value >= 1, indicator.value < 0),
        "lt": (indicator.value > 1, indicator.value <= 0),
        "gte": (indicator.value <= 0, indicator.value > 1),
        "gt": (indicator.value < 0, indicator.value >= 1),
    }[indicator.op]
    if any(holds):
        verdict = "always good" if holds[0] else "never good"
        message = f"{indicator.selector.metric} lies between 0 and 1, so this is {verdict}"
        at = next(
            (loc for name in ("value", "sli", "badTime") if (loc := (*placed.at, name)) in placed.document.spots),
            placed.at,
        )
        yield placed.problem(at, Code.CONSTANT_INDICATOR, message, "a threshold inside that range")


def _retention(placed: Placed, alarms: Sequence[Alarm], limits: Limits) -> Iterator[Problem]:
    longest = max(lengths_of(placed.objective, alarms), default=0.0)
    if limits.retention is not None and longest > limits.retention:
        kept = format_duration(limits.retention)
        message = f"rules over {format_duration(longest)} read what a Prometheus that keeps {kept} has dropped"
        expected = f"--storage.tsdb.retention.time={format_duration(longest)} or more, or a period of at most {kept}"
        yield placed.problem(placed.period, Code.BEYOND_RETENTION, message, expected)


def _short(placed: Placed, alarms: Sequence[Alarm], limits: Limits) -> Iterator[Problem]:
    """Windows of an SLO over queries in which a Prometheus has too few samples."""
    shortest = min(lengths_of(placed.objective, alarms), default=math.inf)
    queried = isinstance(placed.objective.indicator, Query)
    if queried and shortest < _SAMPLES * limits.scrape:
        scrape = format_duration(limits.scrape)
        message = f"the shortest window is {format_duration(shortest)}, too short for a scrape each {scrape}"
        expected = f"windows of {format_duration(_SAMPLES * limits.scrape)} or more, so a longer period"
        yield placed.problem(placed.period, Code.SHORT_WINDOW, message, expected)


_Lint = Callable[[Placed, Sequence[Alarm], Limits], Iterator[Problem]]
_LINTS: tuple[_Lint, ...] = (
    _unfirable,
    _coarse,
    _rounded,
    _few_events,
    _minute,
    _constant,
    _retention,
    _short,
)
