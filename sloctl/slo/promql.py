"""PromQL of indicators: what the daemon counts in process, counted from its exported series."""

import re

from prometheus_client.utils import floatToGoString

from sloctl.config.base import format_duration
from sloctl.slo.objective import Indicator, Ratio, Selector, Threshold
from sloctl.telemetry.catalogue import Kind, find

_COMPARE = {"lte": "<=", "lt": "<", "gte": ">=", "gt": ">"}
_RE2_META = re.compile(r"([\\.+*?()|\[\]{}^$])")


def events(indicator: Indicator, window: float) -> tuple[str, str]:
    """Expressions without labels for the good and the valid events of `window` seconds.

    Counters and histograms: the sum of increases over all matching series and instances. A gauge: its samples
    once a second, as the daemon takes them; series without a value (NaN) are no event.
    """
    if isinstance(indicator, Ratio):
        total = _increase(indicator.total.metric, indicator.total, window)
        if indicator.good is not None:
            return _increase(indicator.good.metric, indicator.good, window), total
        bad = indicator.bad or indicator.total
        return f"{total} - {_increase(bad.metric, bad, window)}", total
    metric = find(indicator.selector.metric)
    if metric is not None and metric.kind is Kind.GAUGE:
        return _samples(indicator, window)
    return _observations(indicator, window)


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
    span = f"[{format_duration(window)}:1s]"
    good = f"sum_over_time(({value} {_COMPARE[indicator.op]} bool {indicator.value:.12g}){span})"
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
