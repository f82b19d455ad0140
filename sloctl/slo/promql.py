"""PromQL of indicators: what the daemon counts in process, counted from its exported series."""

import re

from prometheus_client.utils import floatToGoString

from sloctl.config.base import format_duration
from sloctl.slo.objective import Indicator, QueryRatio, QueryShare, QueryThreshold, Ratio, Raw, Selector, Threshold
from sloctl.telemetry.catalogue import Kind, find

COMPARE = {"lte": "<=", "lt": "<", "gte": ">=", "gt": ">"}
QUERY_STEP = 15.0  # seconds between the samples of a query
WINDOW = re.compile(r"\{\{ *\.window *\}\}")
_RE2_META = re.compile(r"([\\.+*?()|\[\]{}^$])")


def events(indicator: Indicator, window: float) -> tuple[str, str]:
    """Expressions without labels for the good and the valid events of `window` seconds.

    Counters and histograms: the sum of increases over all matching series and instances. A gauge: its samples
    once a second, as the daemon takes them; series without a value (NaN) are no event.
    """
    if isinstance(indicator, Ratio):
        return _ratio(indicator, window)
    if isinstance(indicator, Raw):
        return _shares(indicator, window)
    if isinstance(indicator, QueryRatio):
        return _query_ratio(indicator, window)
    if isinstance(indicator, QueryShare):
        share = f"clamp(avg({_at(indicator.query, window)}) >= -Inf, 0, 1)"
        return (f"1 - {share}" if indicator.failure else share), f"0 * {share} + 1"
    if isinstance(indicator, QueryThreshold):
        return _query_samples(indicator, window)
    return (_samples if is_sampled(indicator) else _observations)(indicator, window)


def is_sampled(indicator: Indicator) -> bool:
    """Whether an indicator's events are samples of gauges, taken once a second."""
    if isinstance(indicator, Threshold):
        metric = find(indicator.selector.metric)
        return metric is not None and metric.kind is Kind.GAUGE
    return isinstance(indicator, Raw | QueryThreshold) or (isinstance(indicator, Ratio) and indicator.sampled)


def _ratio(ratio: Ratio, window: float) -> tuple[str, str]:
    count = _sampled_sum if ratio.sampled else _counted
    total = count(ratio.total, window)
    if ratio.good is not None:
        return count(ratio.good, window), total
    return f"{total} - {count(ratio.bad or ratio.total, window)}", total


def _query_ratio(ratio: QueryRatio, window: float) -> tuple[str, str]:
    total = f"sum({_at(ratio.total, window)})"
    part = f"(sum({_at(ratio.good or ratio.bad or '', window)}) or 0 * {total})"  # a query without series is zero
    return (part if ratio.good is not None else f"{total} - {part}"), total


def filled(query: str, window: str) -> str:
    """A query with the range in the place of `{{.window}}`."""
    return WINDOW.sub(window, query)


def _at(query: str, window: float) -> str:
    return " ".join(filled(query, format_duration(window)).split("\n")).strip()


def _counted(selector: Selector, window: float) -> str:
    return _increase(selector.metric, selector, window)


def _sampled_sum(selector: Selector, window: float) -> str:
    return f"sum_over_time(sum({_readings(selector)}){_seconds(window)})"


def _shares(indicator: Raw, window: float) -> tuple[str, str]:
    share = f"clamp(avg({_readings(indicator.selector)}), 0, 1)"
    span = _seconds(window)
    total, given = f"count_over_time({share}{span})", f"sum_over_time({share}{span})"
    return (f"{total} - {given}" if indicator.failure else given), total


def _readings(selector: Selector) -> str:
    # A filter drops NaN, which is no reading.
    return f"{selector.metric}{matchers(selector)} >= -Inf"


def _seconds(window: float) -> str:
    """A subquery's range with one point for each second of a window, the first one excluded."""
    # Half a second less, so that Prometheus 2 leaves out the point at the very start and 3 keeps the next.
    return f"[{format_duration(window - 0.5)}:1s]"


def _observations(indicator: Threshold, window: float) -> tuple[str, str]:
    selector = indicator.selector
    total = _increase(f"{selector.metric}_count", selector, window)
    bound = ("le", str(floatToGoString(indicator.value)))  # type: ignore[no-untyped-call]
    under = _increase(f"{selector.metric}_bucket", selector, window, bound)
    return (under, total) if indicator.op in ("lte", "lt") else (f"{total} - {under}", total)


def _samples(indicator: Threshold, window: float) -> tuple[str, str]:
    # Good while every series keeps the threshold: the largest (or smallest) must. A filter drops NaN.
    extreme = "max" if indicator.op in ("lte", "lt") else "min"
    selector = indicator.selector
    value = f"({extreme}({selector.metric}{matchers(selector)}) >= -Inf)"
    span = _seconds(window)
    good = f"sum_over_time(({value} {COMPARE[indicator.op]} bool {indicator.value:.12g}){span})"
    return good, f"count_over_time({value}{span})"


def _query_samples(indicator: QueryThreshold, window: float) -> tuple[str, str]:
    extreme = "max" if indicator.op in ("lte", "lt") else "min"
    value = f"({extreme}({_at(indicator.query, window)}) >= -Inf)"
    span = f"[{format_duration(window - 0.5)}:{QUERY_STEP:g}s]"
    good = f"sum_over_time(({value} {COMPARE[indicator.op]} bool {indicator.value:.12g}){span})"
    return good, f"count_over_time({value}{span})"


def _increase(name: str, selector: Selector, window: float, *more: tuple[str, str]) -> str:
    return f"sum(increase({name}{matchers(selector, *more)}[{format_duration(window)}]))"


def matchers(selector: Selector, *more: tuple[str, str]) -> str:
    """Label matchers in braces, sorted by label; empty without any."""
    found = [f"{label}={quote(value)}" for label, value in more]
    for label, values in selector.labels.items():
        if len(values) == 1:
            found.append(f"{label}={quote(values[0])}")
        else:
            either = "|".join(_RE2_META.sub(r"\\\1", value) for value in values)
            found.append(f"{label}=~{quote(either)}")
    return "{" + ", ".join(sorted(found)) + "}" if found else ""


def quote(text: str) -> str:
    """A PromQL string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
